"""A table of a paper made again: its variants over seeds, the cells, the chart, the page."""
