"""The shell: the only package that imports kopf. Watches in, keys out; start, stop and probes."""
