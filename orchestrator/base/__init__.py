"""What every room stands on: errors, files written whole, and what is said on the console."""
