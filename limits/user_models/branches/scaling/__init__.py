"""The factor on the residual branches of a model: put on, found again, taken off."""
