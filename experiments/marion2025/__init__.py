"""Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime."""
