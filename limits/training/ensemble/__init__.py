"""Many res-1 networks, differing in weights, scaling and learning rate, trained in step."""
