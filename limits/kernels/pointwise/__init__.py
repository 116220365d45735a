"""Activations in plain arithmetic, so that loops compute several entries at a time."""
