"""The loops: fit, its step, and evaluation. Each reads like its specification."""
