"""The loop: keys of jobs in a queue, one pass per key at a time, each from live reads to actions."""
