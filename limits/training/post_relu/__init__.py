"""The networks with relu after the addition that Zhang et al. analyse, trained in step."""
