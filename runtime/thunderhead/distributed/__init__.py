"""Ranks: where we are among them, and what they agree on."""
