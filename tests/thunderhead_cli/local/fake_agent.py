"""An agent that pretends: counts steps, answers /status, stops and ends as the treaty says. Standard library only.

Steps are kept in ``steps`` of the run's directory, so that a later attempt goes on from there. What it does comes from
the job's ``module.init_args``: ``steps`` in all, ``seconds`` each; ``hold``: attempt 1 stays at that step until
something befalls it; ``ends``: an outcome to end with at once.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

ENV = {key.removeprefix("THUNDERHEAD_"): value for key, value in os.environ.items() if key.startswith("THUNDERHEAD_")}
ARGS = json.loads(Path(ENV["JOB_FILE"]).read_text())["spec"]["module"]["init_args"]
KEPT = Path(ENV["RUN_DIR"]).parents[2] / "steps"
NODE_RANK = int(ENV["NODE_RANK"])
state: dict[str, Any] = {"step": int(KEPT.read_text()) if KEPT.exists() else 0, "first_step_at": None}
first = state["step"]


def shared() -> dict[str, Any]:
    """What status and record have in common."""
    return {
        "treaty": 1,
        "uid": ENV["UID"],
        "attempt": int(ENV["ATTEMPT"]),
        "nodeRank": NODE_RANK,
        "firstStep": first,
        "firstStepAt": state["first_step_at"],
        "trainingSeconds": (state["step"] - first) * ARGS["seconds"],
        "metrics": {"val_acc": state["step"] / ARGS["steps"]},
        "checkpoint": {"uri": "file:///c", "step": state["step"], "committedAt": "2026-01-01T00:00:00Z"},
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        step, steps = state["step"], ARGS["steps"]
        body = {**shared(), "phase": "Train", "worldSize": 2, "ranksMet": 2, "step": step, "maxSteps": steps}
        body["percent"] = 100 * step // steps
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def end(outcome: str, code: int, message: str | None = None) -> NoReturn:
    record = {**shared(), "outcome": outcome, "lastStep": state["step"]}
    if message:
        culprit = {"rank": NODE_RANK, "nodeRank": NODE_RANK, "pod": ENV["POD"], "reason": "ImportError"}
        record["culprit"] = {**culprit, "message": message}
    Path(ENV["TERMINATION_FILE"]).write_text(json.dumps(record))
    os._exit(code)


signal.signal(signal.SIGTERM, lambda *_: end("Stopped", 75))
server = HTTPServer((ENV["AGENT_HOST"], 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
Path(ENV["RUN_DIR"], "agent.port").write_text(str(server.server_port))
if ARGS.get("ends"):
    end(ARGS["ends"], 78, "no module named that")
while state["step"] < ARGS["steps"]:
    time.sleep(ARGS["seconds"])
    if state["step"] == ARGS.get("hold") and ENV["ATTEMPT"] == "1":
        continue
    state["step"] += 1
    state["first_step_at"] = state["first_step_at"] or datetime.now(UTC).isoformat()
    if NODE_RANK == 0:
        draft = KEPT.with_suffix(".draft")
        draft.write_text(str(state["step"]))
        draft.replace(KEPT)  # the other node may be reading it
end("Done", 0)
