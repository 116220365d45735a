"""The graph of a forward pass: its nodes, its joins, and what is linear in what."""
