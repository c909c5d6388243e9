"""The local mode: a cluster of one machine, driven by the operator's own decisions."""
