"""What every room stands on: settings, label spaces, samples, errors."""
