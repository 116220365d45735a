"""torchsde on the very same noise, with its steps counted."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from limits._typing import Keep
from limits.checks import check_steps
from limits.equations import DepthLimit, Driver
from limits.exceptions import SolverError
from limits.modes import keeps_dtypes
from limits.paths import WeightSample
from limits.scalars import plain_numbers
from limits.solvers.preparation import constant, prepare, reported, unpacked
from limits.trajectory import Trajectory

__all__ = ["TorchSDE"]


@plain_numbers
@dataclass(frozen=True)
class TorchSDE:
    """Solve an SDE limit by ``torchsde.sdeint`` on the increments of the draw.

    Time is counted in layers, t in [0, steps] with dt = 1, where torchsde's accumulating clock
    is exact; the steps it took are counted and compared.

    Parameters
    ----------
    method : {"euler"}
        General noise in the Itô sense allows no other method of torchsde.
    steps : int, optional
        Number of steps, a divisor of the drawn depth; the sample's depth when left out.

    References
    ----------
    Li, Wong, Chen, Duvenaud, "Scalable gradients for stochastic differential equations",
    AISTATS 2020 (torchsde).
    """

    method: Literal["euler"] = "euler"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.method != "euler":
            raise SolverError(
                f"torchsde method {self.method!r} does not apply: matrix-driven and isotropic "
                'limits have general noise in the Ito sense, for which torchsde has "euler" only.'
            )

    @keeps_dtypes
    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Solve an SDE limit on the draw that drives it; arguments as in `EulerMaruyama.solve`.

        Raises
        ------
        SolverError
            If the limit is no SDE, or torchsde did not take the number of steps asked for.
        NonFiniteStateError
            If the solution overflows.
        """
        states, driver = prepare(limit, h0, sample, self.steps, keep)
        if limit.kind == "identity":
            return constant(states, driver, keep)
        if limit.kind != "sde":
            raise SolverError(
                f"TorchSDE solves SDE limits, this one is of kind {limit.kind!r}. Use "
                'TorchDiffEq(method="dopri5") for an ODE.'
            )
        noise = (
            driver.as_torchsde(unit="layer")
            if isinstance(driver, WeightSample)
            else driver.as_torchsde(n_inputs=states.shape[1], unit="layer")
        )
        nodes = range(driver.depth + 1) if keep == "all" else (0, driver.depth)
        # It makes tensors when it is imported, which later gradients pass through.
        with torch.inference_mode(False):
            import torchsde

        solution: object = torchsde.sdeint(
            limit.as_torchsde(driver, unit="layer"),
            limit.pack(states, driver.n_paths),
            torch.tensor(nodes, dtype=torch.float64, device="cpu"),
            bm=noise,
            dt=1.0,
            method=self.method,
        )
        if noise.steps != driver.depth:
            raise SolverError(
                f"torchsde took {noise.steps} steps where {driver.depth} were asked for. Use a "
                "power of two, or report the version of torchsde."
            )
        values = unpacked(limit, cast("Tensor", solution), keep)
        out = Trajectory.of(driver, values, steps=noise.steps)
        return reported(out, f"torchsde {self.method} with {noise.steps} steps")
