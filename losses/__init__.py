"""Losses: pure functions on tensors, one idea a file."""
