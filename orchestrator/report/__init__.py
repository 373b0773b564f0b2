"""What a run says of itself: summary.json, the report, its charts and tables."""
