"""What users derive from: modules, datamodules, callbacks."""
