"""Numbers of predictions: IoU, class rules, the score without labels, colours."""
