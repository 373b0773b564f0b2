"""What is done without a run: measure, label, check a data set, write shards."""
