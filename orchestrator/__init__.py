"""The engine: the only code that imports Ray, and the only training loop."""
