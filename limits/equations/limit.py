"""A limit as an object: what it is, what drives it, and how other libraries read it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import State, TimeUnit
from limits.checks import check_choice, check_count, check_real
from limits.equations.isotropic import isotropic_of
from limits.equations.noise import NoiseSample
from limits.equations.ode import DriftField, VectorField
from limits.equations.sde import IsotropicSDE, MatrixSDE
from limits.equations.theorems import Coupling, Form, Kind, Theorem
from limits.exceptions import CouplingError, NoLimitError, ShapeError, SolverError
from limits.networks.averaged import AveragedInner
from limits.networks.blocks import Block, Inner, block_label, reflects, settled
from limits.networks.resnet import ResNet
from limits.paths import WeightPath, WeightSample
from limits.scalars import plain_numbers

__all__ = ["DepthLimit", "Driver"]

Driver = WeightSample | NoiseSample


@plain_numbers
@dataclass(frozen=True)
class DepthLimit:
    """The limit of a network on a weight path; make one with `depth_limit`.

    Parameters
    ----------
    net : ResNet
        The network.
    path : WeightPath
        The law of its weights.
    theorem : Theorem
        The row of the theorem table that applies.
    """

    net: ResNet
    path: WeightPath
    theorem: Theorem

    @property
    def kind(self) -> Kind:
        """What the limit is: an equation, ``"identity"``, ``"explosion"`` or ``"contraction"``."""
        return self.theorem.kind

    @property
    def coupling(self) -> Coupling:
        """``"strong"``: path by path on the network's own weights. ``"law"``: laws only."""
        return self.theorem.coupling

    @property
    def form(self) -> Form:
        """``"path"``: driven by the weights. ``"law"``: driven by noise of its own."""
        return self.theorem.form

    @property
    def order(self) -> float | None:
        """Theoretical order of the strong error ("strong") or of the weak error ("law")."""
        if self.kind == "young" and self.net.corrected and not self.net.vector_field.has_inner:
            return min(2 * self.path.index - 0.5, 1.0)
        return self.theorem.order(self.path.index)

    @property
    def equation(self) -> str:
        """The limit in plain text."""
        return self.theorem.equation

    @property
    def block(self) -> Block:
        """The vector field of the limit: the network's, with inner weights averaged if they do."""
        block = self.net.vector_field
        if self.kind == "young" and isinstance(block, Inner):
            return AveragedInner(block.activation, block.bias)
        if self.kind == "young" and block.has_inner:
            raise NoLimitError(
                f"the mean of {block_label(block)} over its inner weights is not known. Use "
                "res-2 or res-3, or a block without inner weights that is this mean."
            )
        return block

    @property
    def reflected(self) -> bool:
        """Whether the limit stays in the orthant of non-negative entries by reflection."""
        return reflects(self.net.vector_field)

    def start(self, h0: State) -> State:
        """Return the state at time 0: `h0`, or relu(h0) where the limit is reflected."""
        return settled(self.net.vector_field, h0)

    def sample(
        self,
        *,
        depth: int,
        n_paths: int,
        seed: int,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Driver:
        """Draw what drives the limit: weights for a path form, noise for a law form.

        Parameters
        ----------
        depth : int
            Number of steps of the finest solution.
        n_paths, seed, dtype, device
            As in `WeightPath.sample`.
        """
        if self.form == "path":
            return self.path.sample(
                depth=depth, n_paths=n_paths, seed=seed, dtype=dtype, device=device
            )
        return NoiseSample.drawn(
            label=f"{self.path.label}/law",
            width=self.path.width,
            depth=depth,
            n_paths=n_paths,
            seed=seed,
            dtype=dtype,
            device=device,
        )

    def check_driver(self, driver: object) -> Driver:
        """Raise `CouplingError` unless `driver` is what this limit is driven by."""
        if self.form == "law" and isinstance(driver, WeightSample):
            raise CouplingError(
                f"this limit holds in law only ({self.equation}), so the network's weights cannot "
                "drive it. Draw its own noise with limit.sample(depth=..., n_paths=..., seed=...) "
                "and compare with weak_error."
            )
        if self.form == "path" and isinstance(driver, NoiseSample):
            raise CouplingError(
                "this limit is driven by the network's weights, found the noise of a limit in law. "
                "Pass the WeightSample that the network read."
            )
        if not isinstance(driver, WeightSample | NoiseSample):
            raise ShapeError(
                f"a limit is solved on a draw, found {type(driver).__name__}. Make one with "
                "path.sample(...) or limit.sample(...)."
            )
        own = self.path.label
        other = driver.path.label if isinstance(driver, WeightSample) else driver.label
        if other not in (own, f"{own}/law"):
            raise CouplingError(
                f"this limit was built for {own} weights, the draw is one of {other}. Use "
                "depth_limit(net, path) with the path you sampled."
            )
        if driver.width != self.path.width:
            raise CouplingError(
                f"this limit was built for width {self.path.width}, the draw has width "
                f"{driver.width}. Use depth_limit(net, path) with the path you sampled."
            )
        return driver

    def check_exists(self) -> None:
        """Raise `NoLimitError` where depth to infinity has no limit."""
        if self.kind in ("explosion", "contraction"):
            what = "explode" if self.kind == "explosion" else "shrink to the zeros of g"
            raise NoLimitError(
                f"there is no limit to solve: beta={self.net.beta} is below the critical exponent "
                f"{self.path.critical_beta:g} of {self.path.label} weights, where hidden states "
                f"{what}. Use beta={self.path.critical_beta:g}, or look at out.log_norm."
            )

    def pack(self, h0: Tensor, n_paths: int) -> Tensor:
        """Return states as torchsde wants them, shape ``(path, input * width)``.

        Parameters
        ----------
        h0 : Tensor
            ``(input, width)``, shared by all paths, or ``(path, input, width)``.
        n_paths : int
            Number of paths.
        """
        check_count(n_paths, "n_paths")
        _check_tensor(h0, "h0", f"(input, {self.path.width})")
        if h0.ndim == 2:
            h0 = h0.expand(n_paths, -1, -1)
        if h0.ndim != 3 or h0.shape[0] != n_paths or h0.shape[2] != self.path.width:
            raise ShapeError(
                f"h0 must have shape (input, {self.path.width}) or ({n_paths}, input, "
                f"{self.path.width}), found {tuple(h0.shape)}."
            )
        return h0.flatten(1)

    def unpack(self, y: Tensor) -> Tensor:
        """Return packed states as ``(..., path, input, width)``."""
        _check_tensor(y, "y", f"(path, input * {self.path.width})")
        if y.shape[-1] % self.path.width:
            raise ShapeError(
                f"packed states have {y.shape[-1]} columns, no multiple of the width "
                f"{self.path.width}. Pass what pack or torchsde returned."
            )
        return y.unflatten(-1, (-1, self.path.width))

    def as_torchsde(self, sample: Driver, *, unit: TimeUnit = "time") -> MatrixSDE | IsotropicSDE:
        """Return the SDE for ``torchsde.sdeint(sde, limit.pack(h0, n), ts, bm=..., dt=...)``.

        General noise: use ``method="euler"`` with ``bm=sample.as_torchsde()``, ``ts`` in [0, 1]
        and ``dt = 1 / depth``; or the unit "layer" in both, ``ts`` in [0, depth] and ``dt = 1``.

        Raises
        ------
        NoLimitError
            If the limit is no SDE.
        SolverError
            If it is reflected.
        CouplingError
            If `sample` does not drive this limit.
        """
        check_choice(unit, "unit", TimeUnit)
        self._check_foreign("torchsde", sample)
        if self.kind != "sde":
            raise NoLimitError(
                f"this limit is of kind {self.kind!r}, no SDE. Use as_torchdiffeq for an ODE."
            )
        duration = float(sample.depth) if unit == "layer" else 1.0
        if self.form == "path":
            return MatrixSDE(self.net, self.path.width, duration)
        return IsotropicSDE(isotropic_of(self.net, self.path), duration)

    def as_torchdiffeq(self, sample: WeightSample) -> VectorField | DriftField:
        """Return f(t, h) for ``torchdiffeq.odeint(f, h0, t)``, states ``(path, input, width)``.

        Raises
        ------
        NoLimitError
            If the limit is no ODE.
        SolverError
            If it is reflected.
        CouplingError
            If `sample` does not drive this limit.
        """
        self._check_foreign("torchdiffeq", sample)
        if self.kind != "ode":
            raise NoLimitError(
                f"this limit is of kind {self.kind!r}, no ODE. Use as_torchsde for an SDE."
            )
        if self.theorem.driver == "nothing":
            return DriftField(self.net, self.path.width)
        return VectorField(self.net, sample)

    def _check_foreign(self, library: str, driver: object) -> None:
        self.check_exists()
        self.check_driver(driver)
        if self.reflected:
            raise SolverError(
                f"{library} knows no reflection, and this limit is reflected at 0 "
                f"({self.equation}). Use limits.EulerMaruyama."
            )


def _check_tensor(value: object, name: str, shape: str) -> None:
    if not isinstance(value, Tensor) or value.ndim < 1:
        raise ShapeError(
            f"{name} must be a tensor of shape {shape}, found {type(value).__name__}. Use "
            f"torch.as_tensor({name})."
        )
    check_real(value, name)
