"""One run: its folder, what its stages share, their fingerprints, and the runs beside it."""
