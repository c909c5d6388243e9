"""Configuration files of ``LightningCLI`` and job files: each from the other."""
