"""Copies of a run's curves, for people to look at: one tool a file, told by one log tailer of the run folder."""
