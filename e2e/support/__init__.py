"""What the scenarios share: the API server, jobs and what they do, committed checkpoints, measured figures."""
