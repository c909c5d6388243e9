"""A run as values: what its arguments mean, one entry point, and what training carries from step to step."""
