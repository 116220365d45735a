"""Residual networks that read their weights from a path."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from limits._typing import BlockName, Keep, Nonfinite, States
from limits.activations import Activation, as_activation
from limits.checks import check_beta, check_beta_length, check_choice, check_coefficient
from limits.exceptions import LimitsError, ShapeError
from limits.networks.blocks import Block, make_block
from limits.networks.fused import Fused, is_recorded
from limits.networks.log_scale import logs_of, lost_states, restored
from limits.networks.overflow import check_overflow
from limits.networks.propagate import (
    Stepper,
    advance_chunks,
    pull_chunks,
    push_chunks,
)
from limits.networks.states import as_states, check_same_draw, check_sample
from limits.paths import WeightPath, WeightSample
from limits.scalars import plain_numbers
from limits.scaling import check_representable, residual_scale
from limits.trajectory import Trajectory

__all__ = ["ResNet"]


@plain_numbers
@dataclass(frozen=True)
class ResNet:
    """A residual network h_{k+1} = h_k + c L^-beta V_k g(h_k), k = 0 ... L - 1.

    The depth L and the order-one weights V_k = L^gamma dX_k belong to the weight path that the
    network reads, so one object stands for all depths.

    Parameters
    ----------
    activation : str or callable
        ``"identity"``, ``"relu"``, ``"tanh"``, ``"gelu"`` or a pointwise callable.
    block : {"res-1", "res-2", "res-3", "post-relu"} or Block
        res-1: g(h) = s(h). res-2: g(h) = s(W_k h), with inner weights W_k from an independent
        path of the same law and no bias (``limits.Inner(activation, bias=...)`` has one).
        res-3: res-2 with relu. post-relu: h_{k+1} = relu(h_k + c L^-beta V_k h_k), for relu.
        Or any object with the members of ``limits.Block``.
    beta : float or Tensor, optional
        Scaling exponent, a number or one value per input; the path's critical exponent when
        left out.
    coefficient : float
        The c in the residual scale c L^-beta.
    corrected : bool
        Add the mean second-order term (c^2 / (2 d)) L^(-2 beta) Dg(h)^T g(h) to every layer
        (modified Euler scheme). A network on fractional weights with H > 1/2 then approaches
        its Young limit at order 2 H - 1/2 instead of 2 H - 1 (1 at most).

    Raises
    ------
    LimitsError
        If a name is unknown, or `beta` or `coefficient` is not finite.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Section 2; Hu,
    Liu, Nualart, "Rate of convergence and asymptotic error distribution of Euler approximation
    schemes for fractional diffusions", Ann. Appl. Probab. 26 (2016), for the correction; Zhang
    et al., "Stabilize deep ResNet with a sharp scaling factor tau", Mach. Learn. 111 (2022),
    for post-relu (their tau is L^-beta, their standard deviation of the weights c).

    Examples
    --------
    >>> import limits
    >>> sample = limits.BrownianPath(8).sample(depth=64, n_paths=32, seed=0)
    >>> h0 = torch.ones(1, 8, dtype=torch.float64)
    >>> out = limits.ResNet("tanh")(h0, sample)
    >>> out.terminal.shape
    torch.Size([32, 1, 8])
    """

    activation: str | Callable[[Tensor], Tensor] | Activation
    _: KW_ONLY
    block: BlockName | Block = "res-1"
    beta: float | Tensor | None = None
    coefficient: float = 1.0
    corrected: bool = False

    def __post_init__(self) -> None:
        make_block(self.block, as_activation(self.activation))
        check_coefficient(self.coefficient)
        check_beta(self.beta)
        if isinstance(self.beta, Tensor):
            # A copy, so that the network stays what it was when the tensor changes.
            object.__setattr__(self, "beta", self.beta.clone())

    @property
    def vector_field(self) -> Block:
        """The block that computes g and its derivatives."""
        return make_block(self.block, as_activation(self.activation))

    def exponent(self, path: WeightPath) -> float | Tensor:
        """Return beta, the path's critical exponent when none was given."""
        return path.critical_beta if self.beta is None else self.beta

    def __call__(
        self,
        h0: Tensor,
        sample: WeightSample,
        *,
        keep: Keep = "terminal",
        nonfinite: Nonfinite = "raise",
    ) -> Trajectory:
        """Propagate inputs through the network for every weight draw.

        Parameters
        ----------
        h0 : Tensor
            Shape ``(input, width)``, shared by all paths, or ``(path, input, width)``.
        sample : WeightSample
            The weights; its depth is the network's.
        keep : {"terminal", "all"}
            Keep the first and the last state, or all depth + 1.
        nonfinite : {"raise", "keep"}
            What to do when a state overflows. Positively homogeneous networks (identity, relu)
            never raise: their `log_norms` stay finite and exact.

        Returns
        -------
        Trajectory
            Hidden states, differentiable with respect to `h0`.

        Raises
        ------
        ShapeError, DTypeError
            If `h0` does not fit the sample.
        NonFiniteStateError
            If `h0` is not finite, or a state overflows and `nonfinite` is ``"raise"``.
        """
        check_sample(sample)
        states = as_states(h0, sample)
        check_choice(keep, "keep", Keep)
        check_choice(nonfinite, "nonfinite", Nonfinite)

        stepper = self.stepper(states, sample)
        if fused := Fused.of(sample, [stepper]):
            kept = fused.advance_one(stepper, keep=keep)
        else:
            threads = not h0.requires_grad
            kept = advance_chunks(self._start(sample), states, sample, keep=keep, threads=threads)
        out = _trajectory(*kept, sample)
        if nonfinite == "raise":
            self._check_overflow(out, states, sample)
        return out

    def stepper(self, h: Tensor, sample: WeightSample) -> Stepper:
        """Return a batch of states that advances layer by layer through `sample`."""
        scale = self._scale(sample, h.shape[1])
        factor = scale * sample.depth**sample.path.index
        correction = scale * scale / (2 * sample.width) if self.corrected else None
        growth = float(torch.as_tensor(scale, dtype=torch.float64, device="cpu").abs().max())
        for each in (factor, correction):
            if each is not None:
                check_representable(each, h.dtype)
        if isinstance(scale, Tensor):
            factor = _per_input(factor, h)
            correction = None if correction is None else _per_input(correction, h)
        return Stepper(self.vector_field, factor, h, growth, correction)

    def backward(
        self, out: Trajectory, sample: WeightSample, cotangent: Tensor, *, keep: Keep = "all"
    ) -> Trajectory:
        """Return the gradients p_k = dLoss / dh_k by the adjoint recursion.

        p_k = p_{k+1} + c L^-beta Dg(h_k)^T V_k^T p_{k+1}, from p_L = `cotangent`; for post-relu
        with p_{k+1} set to 0 where h_{k+1} = 0.

        Parameters
        ----------
        out : Trajectory
            What this network returned on `sample`. With ``keep="all"`` its states are used;
            otherwise they are computed again.
        sample : WeightSample
            The weights it was computed with.
        cotangent : Tensor
            dLoss / dh_L, shaped like ``out.terminal``.
        keep : {"all", "terminal"}
            Keep every p_k, or p_0 and p_L only.

        Returns
        -------
        Trajectory
            ``values[k]`` is p_k, so ``values[0]`` is the gradient at the input.

        Raises
        ------
        CouplingError
            If `out` comes from another draw or depth than `sample`.
        ShapeError, DTypeError, NonFiniteStateError
            If `cotangent` does not fit.
        """
        check_sample(sample)
        check_choice(keep, "keep", Keep)
        self._check_plain("backward")
        check_same_draw(out, sample)
        p = as_states(cotangent, sample, name="cotangent")
        if p.shape[1] != out.terminal.shape[1]:
            raise ShapeError(
                f"cotangent has {p.shape[1]} inputs, the trajectory has {out.terminal.shape[1]}. "
                "Pass dLoss/dh_L, shaped like out.terminal."
            )
        reused = out.keeps_all and self.vector_field.homogeneous
        lost = lost_states(out.values, out.log_norms) if reused else None
        stepper = self.stepper(out.values[0], sample)
        if not is_recorded(out.values, p) and (
            fused := Fused.of(sample, [stepper], gradients=True)
        ):
            states = out.values
            if lost is not None or not out.keeps_all:
                states = fused.advance_one(stepper, keep="all")[0]
            if lost is not None:
                states = torch.where(lost, states, out.values)
            kept = fused.pull_back(stepper, states, p, keep=keep)
        else:
            states = out.values if out.keeps_all else out.values[:1]
            kept = pull_chunks(self._start(sample), states, p, sample, keep=keep, lost=lost)
        return _trajectory(*kept, sample)

    def tangent(
        self, h0: Tensor, q0: Tensor, sample: WeightSample, *, keep: Keep = "terminal"
    ) -> tuple[Trajectory, Trajectory]:
        """Return the states and the tangents q_{k+1} = q_k + c L^-beta V_k Dg(h_k) q_k.

        Parameters
        ----------
        h0, q0 : Tensor
            Input and direction, of equal shape ``(input, width)`` or ``(path, input, width)``.
        sample : WeightSample
            The weights.
        keep : {"terminal", "all"}
            As in a forward pass.

        Returns
        -------
        tuple of Trajectory
            (h, q).
        """
        check_sample(sample)
        check_choice(keep, "keep", Keep)
        self._check_plain("tangent")
        states, q = as_states(h0, sample), as_states(q0, sample, name="q0")
        if states.shape != q.shape:
            raise ShapeError(
                f"h0 has shape {tuple(h0.shape)} and q0 {tuple(q0.shape)}. Pass one direction per "
                "input."
            )

        stepper = self.stepper(states, sample)
        if not is_recorded(q) and (fused := Fused.of(sample, [stepper], gradients=True)):
            kept = fused.push_forward(stepper, q, keep=keep)
        else:
            kept = push_chunks(self._start(sample), states, q, sample, keep=keep)
        h, tangents = (_trajectory(*each, sample) for each in kept)
        self._check_overflow(h, states, sample)
        return h, tangents

    def _start(self, sample: WeightSample) -> Callable[[Tensor], Stepper]:
        return lambda h: self.stepper(h, sample)

    def _check_overflow(self, out: Trajectory, states: Tensor, sample: WeightSample) -> None:
        if self.vector_field.homogeneous:
            return

        def start(first: int, count: int) -> Stepper:
            return self.stepper(states[first : first + count], sample)

        check_overflow(out, sample, start, self.exponent(sample.path))

    def _check_plain(self, method: str) -> None:
        if self.corrected:
            raise LimitsError(
                f"{method} of a corrected network needs second derivatives, which blocks do not "
                "have. Differentiate net(h0, sample) by autograd."
            )

    def _scale(self, sample: WeightSample, n_inputs: int) -> float | Tensor:
        beta = self.exponent(sample.path)
        if isinstance(beta, Tensor) and beta.ndim == 0:
            beta = float(beta)
        check_beta_length(beta, n_inputs)
        return residual_scale(sample.depth, beta, self.coefficient)


def _per_input(factor: float | Tensor, h: Tensor) -> Tensor:
    return torch.as_tensor(factor, dtype=h.dtype, device=h.device).unsqueeze(-1)


def _trajectory(values: States, exponents: Tensor, sample: WeightSample) -> Trajectory:
    log_norms = logs_of(values, exponents)
    return Trajectory.of(sample, restored(values, exponents), log_norms=log_norms)
