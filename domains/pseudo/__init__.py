"""From scores to pseudo-labels: windows and views, confidences, thresholds, the spatial prior."""
