"""A dry run: the plan of a run, a smoke run of it, and what the whole would take."""
