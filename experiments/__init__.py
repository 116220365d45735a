"""The experiments: one file a figure or table."""
