"""State in and out: Lightning-format ``.ckpt`` files for people, trees for job checkpoints."""
