"""Loaders that resume, and how batches reach the device."""
