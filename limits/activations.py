"""Activation functions with the derivative and the homogeneity that the recursions need."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.checks import check_real
from limits.exceptions import DTypeError, LimitsError
from limits.gaussian import density, distribution

__all__ = ["ACTIVATIONS", "Activation", "as_activation"]

Pointwise = Callable[[Tensor], Tensor]
_LANES = 64
_PROBE = (-1.7, -0.6, 0.3, 0.8, 1.9, 2.4)


@dataclass(frozen=True)
class Activation:
    """A pointwise nonlinearity s.

    Parameters
    ----------
    name : str
        Label in plots, messages and provenance.
    value, derivative : callable
        s and s', applied entry by entry. Callables of your own are handed a copy, so that one
        that acts in place changes nothing else.
    homogeneous : bool
        Whether s(a x) = a s(x) for every a > 0, which makes log-norm accounting exact.

    Examples
    --------
    >>> relu = as_activation("relu")
    >>> relu.value(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    >>> relu.homogeneous
    True
    """

    name: str
    value: Pointwise
    derivative: Pointwise
    homogeneous: bool = False

    def __post_init__(self) -> None:
        for name in ("value", "derivative"):
            object.__setattr__(self, name, _shielded(getattr(self, name)))


@dataclass(frozen=True)
class Shielded:
    """A user's callable on a copy of its argument, contiguous and filled up to 64 entries.

    It may act in place. Vector loops of torch, their scalar remainder and their strided loops
    may round differently; without a remainder, and on one layout, a path's numbers do not depend
    on how many others are computed beside it.

    Parameters
    ----------
    function : callable
        What acts entry by entry.
    """

    function: Pointwise

    def __call__(self, x: Tensor) -> Tensor:
        """Return the values at `x`."""
        missing = -x.numel() % _LANES
        if missing:
            flat = torch.nn.functional.pad(x.reshape(-1), (0, missing))
        else:
            flat = x.clone(memory_format=torch.contiguous_format).view(-1)
        return self.function(flat)[: x.numel()].reshape(x.shape)


@dataclass(frozen=True)
class Slope:
    """The derivative of a callable by autograd.

    Parameters
    ----------
    function : callable
        What acts entry by entry.
    """

    function: Pointwise

    def __call__(self, x: Tensor) -> Tensor:
        """Return the derivative at `x`, zero where autograd sees no dependence."""
        # Inference tensors have no graph, whatever the mode: the point is a copy made outside.
        with torch.inference_mode(False), torch.enable_grad():
            point = x if x.requires_grad else x.detach().clone().requires_grad_()
            value = self.function(point)
            if not value.requires_grad:
                return torch.zeros_like(point)
            (slope,) = torch.autograd.grad(
                value.sum(), point, create_graph=x.requires_grad, allow_unused=True
            )
        return torch.zeros_like(point) if slope is None else slope


def _tanh_derivative(x: Tensor) -> Tensor:
    return 1 - torch.tanh(x).square()


def _gelu(x: Tensor) -> Tensor:
    # torch's own gelu rounds the last entries of a tensor differently, so that numbers would
    # depend on how many paths are computed at once.
    return x * distribution(x)


def _gelu_derivative(x: Tensor) -> Tensor:
    return distribution(x) + x * density(x)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _step(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


_OWN = (torch.relu, torch.tanh, torch.ones_like, _step, _gelu, _gelu_derivative, _tanh_derivative)


def _shielded(function: Pointwise) -> Pointwise:
    own = function is _unchanged or any(function is each for each in _OWN)
    return function if own or isinstance(function, Shielded | Slope) else Shielded(function)


ACTIVATIONS = {
    "identity": Activation("identity", _unchanged, torch.ones_like, homogeneous=True),
    "relu": Activation("relu", torch.relu, _step, homogeneous=True),
    "tanh": Activation("tanh", torch.tanh, _tanh_derivative),
    "gelu": Activation("gelu", _gelu, _gelu_derivative),
}
"""The activations that go by name."""


def as_activation(activation: "str | Pointwise | Activation") -> Activation:
    """Return the `Activation` of a name or of any pointwise callable.

    Parameters
    ----------
    activation : str, callable or Activation
        ``"identity"``, ``"relu"``, ``"tanh"``, ``"gelu"``, or a callable that maps a tensor to
        a tensor of the same shape entry by entry; its derivative is taken by autograd.

    Raises
    ------
    LimitsError
        If the name is unknown or the callable does not act entry by entry. Pass one of the
        names, or for example ``torch.nn.functional.softplus``.

    Examples
    --------
    >>> as_activation(torch.sin).derivative(torch.tensor([0.0]))
    tensor([1.])
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise LimitsError(
                f"unknown activation {activation!r}. Use one of {', '.join(ACTIVATIONS)}, or pass "
                "a callable such as torch.nn.functional.softplus."
            )
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise LimitsError(
            f"activation must be a name or a callable, found {type(activation).__name__}. "
            f"Use one of {', '.join(ACTIVATIONS)}, or a callable such as torch.sin."
        )
    _check_pointwise(activation)
    name = getattr(activation, "__name__", type(activation).__name__)
    shielded = Shielded(activation)
    return Activation(name, shielded, Slope(shielded))


def _check_pointwise(activation: Pointwise) -> None:
    probe = torch.tensor(_PROBE, dtype=torch.float64, device="cpu")
    try:
        rows = activation(probe.reshape(2, 3).clone())
        singles = [activation(each.clone()) for each in probe.reshape(6, 1)]
    except Exception as error:
        raise LimitsError(
            f"the activation callable failed on a float64 tensor of shape (2, 3): {error}. "
            "Pass a callable that maps a tensor to a tensor entry by entry."
        ) from error
    if isinstance(rows, Tensor):
        check_real(rows, "the value of the activation")
    shaped = isinstance(rows, Tensor) and rows.shape == (2, 3)
    if not (
        shaped
        and all(isinstance(each, Tensor) and each.shape == (1,) for each in singles)
        and torch.allclose(rows.flatten(), torch.cat(singles), equal_nan=True)
    ):
        raise LimitsError(
            "the activation callable does not act entry by entry: its values on a (2, 3) tensor "
            "and on the same six numbers one by one differ. Pass a pointwise function."
        )
    if rows.dtype != probe.dtype:
        raise DTypeError(
            f"the activation callable turns torch.float64 into {rows.dtype}. Return the dtype of "
            "the argument, for example with .to(x.dtype)."
        )
