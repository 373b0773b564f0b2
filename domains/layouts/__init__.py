"""Public data sets: one a file, its tree on disk and the encoding of its labels."""
