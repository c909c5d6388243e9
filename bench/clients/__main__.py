"""Runs clients on both sides and keeps the table: all of them, or those that are named.

Each has an environment of its own below the cache of builds, made once (minutes each). Rows of clients that are not
named stay as they were.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from bench.clients import running, table, venvs
from bench.clients.clients import CLIENTS

_OUT = Path("bench/results")


def main() -> int:
    """Run, print and keep; 1 where a client does not run as with Lightning."""
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *(client.name for client in CLIENTS)], help="which; all")
    parser.add_argument("--out", type=Path, default=_OUT, help="where the table is kept")
    options = parser.parse_args()
    names, kept = options.names, _kept(options.out)
    rows: list[table.Row] = []
    for client in CLIENTS:
        if names and client.name not in names:
            continue
        try:
            python = venvs.environment(client)
        except subprocess.CalledProcessError as error:
            print(f"{client.name}: cannot be installed: {error}", flush=True)
            continue
        version = _version(python, client.package)
        row = table.Row(client, version, *(running.run(client, side) for side in running.SIDES))
        kept[client.name] = table.as_json(row)
        print(" | ".join(row.cells()), flush=True)
        rows = _keep(options.out, kept)
    print((options.out / "clients.md").read_text())
    return int(not all(row.passes for row in rows))


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


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
