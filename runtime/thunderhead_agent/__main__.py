"""``python -m thunderhead_agent``: pid 1 of the container ``trainer``, a plain process in the local mode."""

from __future__ import annotations

import os
import sys

from thunderhead_agent.early import EarlySignals


def main() -> None:
    """Run the agent and leave with its exit code, whatever threads still wait for."""
    early = EarlySignals()
    from thunderhead_agent.refusal import refuse
    from thunderhead_api.extras import MissingExtra, require

    try:
        require("thunderhead_agent", "runtime")
    except MissingExtra as error:
        code = refuse(os.environ, str(error), reason="MissingExtra")
    else:
        from thunderhead_agent.lifecycle import run_agent  # only now: it imports what has just been looked for

        code = run_agent(os.environ, early=early)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
