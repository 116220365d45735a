"""Stochastic equations that users wrote for torchsde."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

import torch
from torch import Tensor

from limits.checks import check_count, is_number
from limits.equations.noise import NoiseSample
from limits.exceptions import LimitsError, ShapeError, SolverError
from limits.scalars import plain_numbers

if TYPE_CHECKING:
    from torchsde import BaseBrownian

__all__ = ["ForeignSDE", "from_torchsde"]

NoiseType = Literal["diagonal", "additive", "scalar", "general"]


class TorchSDEProblem(Protocol):
    """What torchsde integrates: ``f(t, y)`` and ``g(t, y)`` or ``g_prod(t, y, v)``."""

    noise_type: str
    sde_type: str

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift, shape of `y`."""
        ...


@plain_numbers
@dataclass(frozen=True, eq=False)
class ForeignSDE:
    """dY = f(t, Y) dt + g(t, Y) dB, as torchsde understands it; make one with `from_torchsde`.

    Parameters
    ----------
    sde : object
        With ``f``, ``g`` or ``g_prod``, ``noise_type`` and ``sde_type``.
    start, stop : float
        Interval of time.
    """

    sde: Any
    start: float
    stop: float

    @property
    def noise_type(self) -> NoiseType:
        """``"diagonal"``, ``"additive"``, ``"scalar"`` or ``"general"``."""
        return self.sde.noise_type

    def sample(
        self,
        *,
        depth: int,
        n_paths: int,
        seed: int,
        channels: int,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> NoiseSample:
        """Draw Brownian motions that any number of steps which divides `depth` can read.

        Parameters
        ----------
        depth : int
            Number of steps of the finest solution.
        n_paths, seed, dtype, device
            As in `WeightPath.sample`.
        channels : int
            Noise channels: the width for diagonal noise, one for scalar noise.
        """
        check_count(channels, "channels")
        return NoiseSample.drawn(
            label="torchsde-problem",
            width=channels,
            depth=depth,
            n_paths=n_paths,
            seed=seed,
            dtype=dtype,
            device=device,
        )

    def drift(self, t: Tensor, y: Tensor) -> Tensor:
        """Return f(t, y) for states ``(batch, width)``.

        Raises
        ------
        ShapeError
            If f returns another shape or dtype.
        """
        return _like_states(self.sde.f(t.clone(), y.clone()), y, "f(t, y)")

    def diffusion(self, t: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """Return g(t, y) dB for states ``(batch, width)`` and noise ``(batch, channel)``.

        Raises
        ------
        ShapeError
            If g and the noise do not fit together.
        """
        expected = {"scalar": 1, "diagonal": y.shape[-1]}.get(self.noise_type, noise.shape[-1])
        try:
            if noise.shape[-1] != expected:
                raise RuntimeError(f"it has {expected} by its type")
            if hasattr(self.sde, "g_prod"):
                moved = self.sde.g_prod(t.clone(), y.clone(), noise.clone())
            elif self.noise_type == "diagonal":
                moved = self.sde.g(t.clone(), y.clone()) * noise
            else:
                moved = torch.bmm(self.sde.g(t.clone(), y.clone()), noise.unsqueeze(-1)).squeeze(-1)
        except (RuntimeError, IndexError) as error:
            raise ShapeError(
                f"{self.noise_type} noise of {noise.shape[-1]} channels does not fit g at states "
                f"of shape {tuple(y.shape)}: {error}. Sample with channels equal to the noise "
                "channels of g (the width for diagonal noise)."
            ) from error
        return _like_states(moved, y, "g(t, y) dB")


@plain_numbers
def from_torchsde(sde: TorchSDEProblem, *, start: float = 0.0, stop: float = 1.0) -> ForeignSDE:
    """Turn any Itô problem written for torchsde into something our solver and errors accept.

    Solve it with ``EulerMaruyama(steps=...)`` on ``equation.sample(...)`` or on a torchsde
    Brownian motion; solutions with different steps on one draw go to `strong_error`.

    Parameters
    ----------
    sde : object
        With ``f(t, y)``, ``g(t, y)`` or ``g_prod(t, y, v)``, ``noise_type`` and
        ``sde_type = "ito"``.
    start, stop : float
        Interval of time; trajectories report it as layer time 0 to 1.

    Raises
    ------
    SolverError
        If something is missing, or the problem is one in the Stratonovich sense.

    Examples
    --------
    >>> import limits
    >>> class Geometric:
    ...     noise_type, sde_type = "diagonal", "ito"
    ...     def f(self, t, y):
    ...         return 0.1 * y
    ...     def g(self, t, y):
    ...         return 0.5 * y
    >>> equation = limits.from_torchsde(Geometric())
    >>> noise = equation.sample(depth=1024, n_paths=200, seed=0, channels=1)
    >>> y0 = torch.ones(1, 1, dtype=torch.float64)
    >>> fine = limits.EulerMaruyama().solve(equation, y0, noise)
    >>> coarse = limits.EulerMaruyama(steps=64).solve(equation, y0, noise)
    >>> limits.strong_error(coarse, fine).value < 0.05
    True
    """
    missing = [name for name in ("f", "noise_type", "sde_type") if not hasattr(sde, name)]
    if not (hasattr(sde, "g") or hasattr(sde, "g_prod")):
        missing.append("g or g_prod")
    if missing:
        raise SolverError(
            f"{type(sde).__name__} lacks {', '.join(missing)}. torchsde's problems have f(t, y), "
            "g(t, y) or g_prod(t, y, v), noise_type and sde_type."
        )
    if sde.sde_type != "ito":
        raise SolverError(
            f"Euler-Maruyama solves equations in the Ito sense, this one is {sde.sde_type!r}. Add "
            'the drift correction and declare sde_type = "ito".'
        )
    known = get_args(NoiseType)
    if sde.noise_type not in known:
        raise SolverError(f"unknown noise_type {sde.noise_type!r}. Use one of {', '.join(known)}.")
    if not (is_number(start) and is_number(stop) and start < stop):
        raise LimitsError(
            f"start={start!r} must lie before stop={stop!r}, both finite numbers. Use start=0.0, "
            "stop=1.0."
        )
    return ForeignSDE(sde, float(start), float(stop))


def _like_states(value: object, y: Tensor, what: str) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != y.shape or value.dtype != y.dtype:
        found = (
            f"{value.dtype} of shape {tuple(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise ShapeError(
            f"{what} must be {y.dtype} of shape {tuple(y.shape)}, like the states, found {found}. "
            "Make constants with .to(y)."
        )
    return value


def foreign_steps(
    equation: ForeignSDE, noise: "NoiseSample | BaseBrownian", steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (t, dt, dB) of every step, dB of shape ``(path, channel)``.

    Times are added up as torchsde does, so that both ask a Brownian motion the same questions.
    """
    start = torch.tensor(equation.start, dtype=torch.float64, device="cpu")
    stop = torch.tensor(equation.stop, dtype=torch.float64, device="cpu")
    dt = (equation.stop - equation.start) / steps
    root = (equation.stop - equation.start) ** 0.5
    own: Iterator[Tensor] = iter(())
    if isinstance(noise, NoiseSample):
        own = noise.steps(first_path=0, n_paths=noise.n_paths, n_inputs=1)
    t = start
    for step in range(steps):
        following = stop if step + 1 == steps else t + dt
        if isinstance(noise, NoiseSample):
            increment = next(own)[:, 0] * root
        else:
            increment = cast("Tensor", noise(t, following))
        yield t, following - t, increment
        t = following
