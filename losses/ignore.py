"""The label that carries no supervision."""

IGNORE = 255
"""Pixels with this label enter no loss, no metric and no statistic (Cityscapes trainId convention)."""
