"""Training stages: a group of workers, the one loop, checkpoints."""
