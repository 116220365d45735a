"""Activation functions with the derivative and the homogeneity that the recursions need."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.exceptions import LimitsError
from limits.gaussian import density, distribution

__all__ = ["ACTIVATIONS", "Activation", "as_activation"]

Pointwise = Callable[[Tensor], Tensor]
_LANES = 64


@dataclass(frozen=True)
class Activation:
    """A pointwise nonlinearity s.

    Parameters
    ----------
    name : str
        Label in plots, messages and provenance.
    value, derivative : callable
        s and s', applied entry by entry.
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
    padded = _padded(activation)
    return Activation(name, padded, _derivative_of(padded))


def _check_pointwise(activation: Pointwise) -> None:
    probe = torch.tensor([-1.7, -0.6, 0.3, 0.8, 1.9, 2.4], dtype=torch.float64)
    try:
        rows = activation(probe.reshape(2, 3))
        singles = [activation(each) for each in probe.reshape(6, 1)]
    except Exception as error:
        raise LimitsError(
            f"the activation callable failed on a float64 tensor of shape (2, 3): {error}. "
            "Pass a callable that maps a tensor to a tensor entry by entry."
        ) from error
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


def _padded(activation: Pointwise) -> Pointwise:
    """Evaluate on a multiple of 64 entries.

    Vector loops of torch and their scalar remainder may round differently; without a remainder
    a path's numbers do not depend on how many others are computed beside it.
    """

    def padded(x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        missing = -len(flat) % _LANES
        if not missing:
            return activation(x)
        values = activation(torch.nn.functional.pad(flat, (0, missing)))
        return values[: len(flat)].reshape(x.shape)

    return padded


def _derivative_of(activation: Pointwise) -> Pointwise:
    def derivative(x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            value = activation(point)
            (slope,) = torch.autograd.grad(value.sum(), point, create_graph=x.requires_grad)
        return slope

    return derivative
