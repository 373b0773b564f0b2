"""Arrow shards: pseudo-labels, scores, translations and whole domains, each checked by digest."""
