"""The figures of Marion, Fermanian, Biau and Vert, *Scaling ResNets in the large-depth regime*."""
