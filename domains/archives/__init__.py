"""Archives unpacked within limits, beside their target, and then moved into it."""
