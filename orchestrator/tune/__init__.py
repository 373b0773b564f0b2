"""A search over settings: Ray Tune, its trials, and what came of them."""
