"""End-to-end scenarios on a real cluster.

`cluster/` brings one up, `support/` drives jobs on it, `workloads/` is what they train.
"""
