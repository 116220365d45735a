"""Limits that are known path by path."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import Keep
from limits.equations import DepthLimit, Driver
from limits.exceptions import NoLimitError
from limits.paths import WeightSample
from limits.solvers.preparation import prepare, reported
from limits.trajectory import Trajectory, layer_times

__all__ = ["ClosedForm", "has_closed_form"]


def has_closed_form(limit: DepthLimit) -> bool:
    """Say whether the limit is known path by path: linear res-1 of width 1, Gaussian weights."""
    return (
        limit.kind in ("sde", "young")
        and limit.form == "path"
        and limit.net.block == "res-1"
        and limit.net.activation == "identity"
        and limit.path.width == 1
    )


@dataclass(frozen=True)
class ClosedForm:
    """The exact solution of the linear equation of width 1.

    H_t = h_0 exp(c X_t - c^2 t / 2) in the Itô sense (Brownian path), h_0 exp(c X_t) in the sense
    of Young (fractional path, H > 1/2).

    References
    ----------
    Itô's formula; Kloeden and Platen (1992), Section 4.4.

    Examples
    --------
    >>> import limits
    >>> path, net = limits.BrownianPath(1), limits.ResNet("identity")
    >>> sample = path.sample(depth=4096, n_paths=16, seed=0)
    >>> h0 = torch.ones(1, 1, dtype=torch.float64)
    >>> exact = ClosedForm().solve(limits.depth_limit(net, path), h0, sample)
    >>> limits.strong_error(net(h0, sample), exact).value < 0.1
    True
    """

    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Return the solution on the draw; arguments as in `EulerMaruyama.solve`.

        Raises
        ------
        NoLimitError
            If this limit has no closed form path by path.
        """
        states, driver = prepare(limit, h0, sample, None, keep)
        if not has_closed_form(limit) or not isinstance(driver, WeightSample):
            raise NoLimitError(
                f"{limit.equation} on {limit.path.label} weights of width {limit.path.width} has "
                "no closed form path by path. Use EulerMaruyama on a deeper draw, or TorchDiffEq."
            )
        depth = driver.depth if keep == "all" else 1
        steps = driver.at_depth(depth).increments[..., 0].unsqueeze(-1)
        zero = torch.zeros_like(steps[:1])
        motion = torch.cat([zero, steps]).cumsum(dim=0)
        c = limit.net.coefficient
        ito = c * c / 2 if limit.kind == "sde" else 0.0
        drift = ito * layer_times(depth, depth + 1).to(motion).reshape(-1, 1, 1, 1)
        values = states * torch.exp(c * motion - drift)
        return reported(Trajectory.of(driver, values), "the closed form")
