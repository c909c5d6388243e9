"""Verbs on the jobs of a cluster: ``list``, ``describe``, ``submit`` and so on, by :mod:`thunderhead_client`."""
