"""The trainer: its arguments, its hooks, its entry points."""
