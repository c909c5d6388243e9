"""Started by the tests as a process: the agent, with a test's entry in the place of training."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    from thunderhead_agent.early import EarlySignals

    early = EarlySignals()
    from thunderhead_agent.lifecycle import run_agent

    os._exit(run_agent(os.environ, entry=sys.argv[1], early=early))
