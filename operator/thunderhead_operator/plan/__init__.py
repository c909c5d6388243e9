"""Decisions: pure functions from what was observed to what to do. No clock, no randomness, no input or output."""
