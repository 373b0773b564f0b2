"""A drawn city with labels: a domain that needs no download."""
