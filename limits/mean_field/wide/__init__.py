"""Limits of infinite embedding dimension: particles in the embeddings' span, and the lazy one."""
