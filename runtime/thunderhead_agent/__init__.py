"""Pid 1 of a worker pod: rendezvous, worker processes, verdict, status and metrics, signals. See ``docs/agent.md``."""
