"""Networks: backbones, segmentation heads, the mixture head, weights on disk."""
