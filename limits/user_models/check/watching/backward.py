"""The backward pass of a user's model: gradients of a random linear loss."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from limits.exceptions import LimitsError

__all__ = ["backward_pass", "output_tensor"]


def backward_pass(
    model: nn.Module, output: object, states: Mapping[int, Tensor], *, seed: int, of_states: bool
) -> bool:
    """Run the backward pass of a random linear loss, and say whether it reached the streams.

    Gradients of parameters are left as they were.

    Parameters
    ----------
    model : Module
        What was run.
    output : object
        What it returned.
    states : mapping of int to Tensor
        The last state of every stream.
    seed : int
        Of the loss.
    of_states : bool
        Whether the loss is one of the last states instead of the output.

    Raises
    ------
    LimitsError
        If there are no gradients, or the user's backward pass fails.
    """
    value = output_tensor(output, model)
    if not value.requires_grad:
        raise LimitsError(
            f"the output of {type(model).__name__} has no gradient, neither by its parameters "
            "nor by its inputs. Call model.requires_grad_(True) in the factory, and compute "
            "nothing under torch.no_grad()."
        )
    wanted = [p for p in model.parameters() if p.requires_grad]
    before = [parameter.grad for parameter in wanted]
    for parameter in wanted:
        parameter.grad = None
    last = [state for state in states.values() if state.requires_grad]
    arrived: list[bool] = []
    for state in last:
        state.register_hook(lambda gradient: arrived.append(bool((gradient != 0).any())))
    try:
        ends = last if of_states and last else [value]
        torch.autograd.backward(ends, [_cotangent(each, seed) for each in ends])
    except Exception as error:
        raise LimitsError(
            f"the backward pass of {type(model).__name__} failed: {type(error).__name__}: {error}. "
            "Let backward() run on its first output as in training: without changes in place of "
            "what gradients need, and without functions that have no derivative."
        ) from error
    finally:
        for parameter, gradient in zip(wanted, before, strict=True):
            parameter.grad = gradient
    return any(arrived)


def _cotangent(value: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.empty(value.shape, dtype=torch.float32, device="cpu")
        .normal_(generator=generator)
        .to(value)
    )


def output_tensor(output: object, model: nn.Module) -> Tensor:
    """Return the tensor of real numbers that a model returned, the first if there are several."""
    held = list(output.values()) if isinstance(output, Mapping) else output
    values = held if isinstance(held, tuple | list) else [held]
    found: list[Tensor] = [
        value for value in values if isinstance(value, Tensor) and value.is_floating_point()
    ]
    if not found:
        raise LimitsError(
            f"{type(model).__name__} returned {type(output).__name__} without a tensor of real "
            "numbers. Wrap it in a module that returns its prediction as a tensor."
        )
    return found[0]
