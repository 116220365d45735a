"""What a residual network becomes when its depth goes to infinity."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limits.equations.noise import NoiseSample
from limits.equations.ode import VectorField
from limits.equations.sde import IsotropicSDE, MatrixSDE
from limits.equations.theorems import THEOREMS, TRIVIAL, Coupling, Form, Kind, Theorem
from limits.exceptions import CouplingError, LimitsError, NoLimitError, ShapeError
from limits.networks.resnet import ResNet
from limits.paths import WeightPath, WeightSample
from limits.paths.base import check_count, checked_device
from limits.randomness import check_seed
from limits.scaling import regime

__all__ = ["DepthLimit", "depth_limit"]

Driver = WeightSample | NoiseSample


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
        return self.theorem.order

    @property
    def equation(self) -> str:
        """The limit in plain text."""
        return self.theorem.equation

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
        check_count(depth, "depth")
        check_count(n_paths, "n_paths")
        check_seed(seed)
        return NoiseSample(
            label=f"{self.path.label}/law",
            width=self.path.width,
            depth=depth,
            n_paths=n_paths,
            seed=seed,
            dtype=dtype,
            device=checked_device(device),
            drawn_depth=depth,
        )

    def check_driver(self, driver: object) -> None:
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

    def check_exists(self) -> None:
        """Raise `NoLimitError` where depth to infinity has no limit."""
        if self.kind == "explosion":
            raise NoLimitError(
                f"there is no limit to solve: beta={self.net.beta} is below the critical exponent "
                f"{self.path.critical_beta:g} of {self.path.label} weights, where hidden states "
                f"explode. Use beta={self.path.critical_beta:g}, or look at out.log_norm."
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
        if y.shape[-1] % self.path.width:
            raise ShapeError(
                f"packed states have {y.shape[-1]} columns, no multiple of the width "
                f"{self.path.width}. Pass what pack or torchsde returned."
            )
        return y.unflatten(-1, (-1, self.path.width))

    def as_torchsde(
        self, sample: Driver, *, unit: Literal["time", "layer"] = "time"
    ) -> MatrixSDE | IsotropicSDE:
        """Return the SDE for ``torchsde.sdeint(sde, limit.pack(h0, n), ts, bm=..., dt=...)``.

        General noise: use ``method="euler"`` with ``bm=sample.as_torchsde()``, ``ts`` in [0, 1]
        and ``dt = 1 / depth``; or the unit "layer" in both, ``ts`` in [0, depth] and ``dt = 1``.

        Raises
        ------
        NoLimitError
            If the limit is no SDE.
        CouplingError
            If `sample` does not drive this limit.
        """
        self.check_exists()
        self.check_driver(sample)
        if self.kind != "sde":
            raise NoLimitError(
                f"this limit is of kind {self.kind!r}, no SDE. Use as_torchdiffeq for an ODE."
            )
        duration = float(sample.depth) if unit == "layer" else 1.0
        cls = MatrixSDE if self.form == "path" else IsotropicSDE
        return cls(self.net, self.path.width, duration)

    def as_torchdiffeq(self, sample: WeightSample) -> VectorField:
        """Return f(t, h) for ``torchdiffeq.odeint(f, h0, t)``, states ``(path, input, width)``.

        Raises
        ------
        NoLimitError
            If the limit is no ODE.
        CouplingError
            If `sample` does not drive this limit.
        """
        self.check_exists()
        self.check_driver(sample)
        if self.kind != "ode":
            raise NoLimitError(
                f"this limit is of kind {self.kind!r}, no ODE. Use as_torchsde for an SDE."
            )
        return VectorField(self.net, sample)


def depth_limit(net: ResNet, path: WeightPath, *, form: Form = "path") -> DepthLimit:
    """Return what `net` becomes on weights of law `path` when depth goes to infinity.

    At the critical exponent i.i.d. weights give an SDE and smooth weights an ODE; above it the
    network becomes the identity, below it explodes.

    Parameters
    ----------
    net : ResNet
        The network; its `beta` decides the regime.
    path : WeightPath
        The law of the weights.
    form : {"path", "law"}
        Driven by the network's weights, or the isotropic equation in law. Where only laws
        converge (weights that are not Gaussian, res-3 with i.i.d. weights) the answer is the law
        form, whatever was asked.

    Returns
    -------
    DepthLimit
        With ``.kind``, ``.coupling``, ``.form``, ``.order`` and ``.equation``.

    Raises
    ------
    LimitsError
        If arguments are of the wrong type, or the inputs' exponents lie in different regimes.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Theorems 4, 9.

    Examples
    --------
    >>> import limits
    >>> limit = depth_limit(limits.ResNet("tanh"), limits.BrownianPath(8))
    >>> limit.kind, limit.coupling, limit.order
    ('sde', 'strong', 0.5)
    """
    if not isinstance(net, ResNet) or not isinstance(path, WeightPath):
        raise LimitsError(
            f"depth_limit needs a ResNet and a WeightPath, found {type(net).__name__} and "
            f'{type(path).__name__}. Use depth_limit(ResNet("tanh"), BrownianPath(40)).'
        )
    if form not in ("path", "law"):
        raise LimitsError(f'form must be "path" or "law", found {form!r}.')
    betas = torch.as_tensor(net.exponent(path), dtype=torch.float64).reshape(-1)
    kinds = {regime(float(beta), path.index) for beta in betas}
    if len(kinds) > 1:
        raise LimitsError(
            f"the inputs' exponents lie in different regimes ({', '.join(sorted(kinds))}; critical "
            f"exponent {path.critical_beta:g}). Ask for the limit of one regime at a time."
        )
    kind = kinds.pop()
    if kind != "limit":
        return DepthLimit(net, path, TRIVIAL[kind])
    rows = [THEOREMS.get((path.family, net.block, each)) for each in (form, "law", "path")]
    return DepthLimit(net, path, next(row for row in rows if row is not None))
