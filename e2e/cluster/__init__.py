"""A real Kubernetes cluster on one machine, with an S3 server and Prometheus beside it.

With a docker engine the nodes are kind's containers (`kind.py`); without one they are processes in namespaces and
cgroups of their own (`local.py`), of components built from their Go modules. Both answer the same interface, `api.py`.
Only the standard library is imported here, so that a bare machine needs nothing but Python to begin.
"""
