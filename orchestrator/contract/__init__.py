"""What a run is told: settings and flags, how they are read, and what a method is."""
