"""Data: label spaces, readers, the toy city, transforms, sampling, pseudo-label selection and shards."""
