"""What a user writes: modules, datamodules and their hooks."""
