"""Run a model and watch its residual streams, forward, backward and frozen."""
