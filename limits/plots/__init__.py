"""Pictures of datasets: a Dataset goes in, matplotlib Axes come out, nothing else happens."""

from limits.plots.convergence import convergence as convergence
from limits.plots.depth import depth_page as depth_page
from limits.plots.look import style as style
