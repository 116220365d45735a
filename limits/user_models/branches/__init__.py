"""The residual branches of a model, found in one forward pass, and the factor on them."""
