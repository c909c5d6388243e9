"""Runs clients on both sides and keeps the table: all of them, or those that are named.

Each has an environment of its own below the cache of builds, made once (minutes each). A pass over all makes the table
anew, so that its rows are of one commit; where some are named, the others stay as they were.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.clients import running, table, venvs
from bench.clients.client import Client
from bench.clients.clients import CLIENTS

_OUT = Path("bench/results")


def main() -> int:
    """Run, print and keep; 1 where a client does not run as with Lightning."""
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *(client.name for client in CLIENTS)], help="which; all")
    parser.add_argument("--out", type=Path, default=_OUT, help="where the table is kept")
    parser.add_argument("--jobs", type=int, default=1, help="how many clients at a time")
    options = parser.parse_args()
    names, commit = options.names, _commit()
    kept = _kept(options.out) if names else {}
    rows: list[table.Row] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        asked = [client for client in CLIENTS if not names or client.name in names]
        for row in pool.map(lambda client: _row(client, commit), asked):
            if row is not None:
                kept[row.client.name] = table.as_json(row)
                print(" | ".join(row.cells()), flush=True)
                rows = _keep(options.out, kept)
    print((options.out / "clients.md").read_text())
    return int(len(rows) < len(asked) or not all(row.passes for row in rows))


def _row(client: Client, commit: str) -> table.Row | None:
    try:
        python = venvs.environment(client)
    except subprocess.CalledProcessError as error:
        print(f"{client.name}: cannot be installed: {error}", flush=True)
        return None
    version = _version(python, client.package)
    documented = table.Sides(*(running.script(client, side) for side in running.SIDES))
    tests = table.Sides(*(running.tests(client, side, version) for side in running.SIDES)) if client.tests else None
    return table.Row(client, version, commit, documented, tests)


def _keep(out: Path, kept: dict[str, dict[str, Any]]) -> list[table.Row]:
    rows = [table.from_json(kept[client.name], client) for client in CLIENTS if client.name in kept]
    (out / "clients.md").write_text(table.markdown(rows, "Lightning 2.6.6, torch 2.13.0 on the CPU"))
    found = {"clients": [table.as_json(row) for row in rows]}
    (out / "clients.json").write_text(json.dumps(found, indent=1) + "\n")
    return rows


def _kept(out: Path) -> dict[str, dict[str, Any]]:
    path = out / "clients.json"
    found = json.loads(path.read_text())["clients"] if path.exists() else []
    return {row["client"]: row for row in found}


def _commit() -> str:
    """Of this tree, with a word where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
