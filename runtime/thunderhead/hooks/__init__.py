"""Which hooks there are in a run, and methods that only look like one."""
