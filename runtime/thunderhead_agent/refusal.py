"""An agent that cannot begin: why, in the form that the operator reads. Needs no extra of the distribution."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from thunderhead_agent.record import write_record
from thunderhead_api import treaty
from thunderhead_api.treaty import EXIT_CODE_OF, Env, Outcome


def refuse(environ: Mapping[str, str], why: str, *, reason: str = "InvalidSettings") -> int:
    """Say why on stderr and in the termination record; the exit code to leave with."""
    print(f"thunderhead_agent: {why}", file=sys.stderr)
    # An escaped character takes up to 6 bytes, and the kubelet keeps 4,096 of the record.
    attempt, node_rank = environ.get(Env.ATTEMPT, "1"), environ.get(Env.NODE_RANK, "0")
    record = {
        "treaty": treaty.TREATY_VERSION,
        "uid": environ.get(Env.UID, "unknown"),
        "attempt": int(attempt) if attempt.isdigit() else 1,
        "nodeRank": int(node_rank) if node_rank.isdigit() else 0,
        "outcome": Outcome.INVALID_CONFIGURATION,
        "culprit": {"reason": reason, "message": why[:600]},
    }
    leave(Path(environ.get(Env.TERMINATION_FILE) or treaty.TERMINATION_FILE), json.dumps(record).encode())
    return int(EXIT_CODE_OF[Outcome.INVALID_CONFIGURATION])


def leave(path: Path, body: bytes) -> None:
    """Write the termination record; where that fails, the log has it."""
    try:
        write_record(path, body)
    except OSError as error:
        # The exit code still says the kind; the log says the rest.
        print(f"cannot write {path}: {error.strerror}; it would have said {body.decode()}", file=sys.stderr)
