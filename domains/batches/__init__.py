"""From samples to what a step of training reads: order, crop, photometric changes, style transfer."""
