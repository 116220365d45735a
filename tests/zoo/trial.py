"""One row of the zoo, asked and judged."""

import contextlib
import warnings

import torch

import limits
from tests.zoo.truth import (
    CRASH,
    Outcome,
    Row,
    of_check,
    of_refusal,
    of_scaling,
    of_scaling_refused,
    worst,
)

__all__ = ["tried"]


def tried(row: Row, *, seeds: int = 3) -> Outcome:
    """Return what a row comes to: the check, and the scaling that it recommends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked, recommended = _checked(row, seeds)
        scaled = _scaled(row, recommended=recommended)
    outcome = worst([checked, scaled])
    if outcome is scaled:
        return Outcome(outcome.word, f"{checked.found}; {scaled.found}")
    return outcome


def _checked(row: Row, seeds: int) -> tuple[Outcome, bool]:
    """Return what the check comes to, and whether it recommends to scale by a call."""
    try:
        check = limits.depth_check(
            row.make, depths=row.depths, inputs=row.inputs(), n_seeds=seeds, **row.options
        )
        recommendation = check.recommendation
        call = recommendation.call if recommendation is not None else ""
        return of_check(row, check), call.startswith("limits.scale_residuals(")
    except limits.LimitsError as error:
        return of_refusal(row.truth, str(error)), False
    except Exception as error:
        return Outcome(CRASH, f"{type(error).__name__}: {error}"), False


def _scaled(row: Row, *, recommended: bool) -> Outcome:
    depth = row.depths[-2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = row.make(depth)
    before = _output(model, row)
    try:
        handle = limits.scale_residuals(model, inputs=row.inputs(), **row.options)
    except limits.LimitsError as error:
        return of_scaling_refused(row, str(error), recommended=recommended)
    except Exception as error:
        return Outcome(CRASH, f"{type(error).__name__}: {error}")
    outcome = of_scaling(row, handle, depth)
    try:
        _output(model, row)
        handle.remove()
    except Exception as error:
        return Outcome(CRASH, f"after scaling: {type(error).__name__}: {error}")
    after = _output(model, row)
    if not all(torch.equal(*each) for each in zip(before, after, strict=True)):
        return Outcome(CRASH, "the model is not what it was after remove")
    return outcome


def _output(model: torch.nn.Module, row: Row) -> list[torch.Tensor]:
    """Return the tensors that a model puts out, in evaluation mode, with one seed."""
    inputs, training = row.inputs(), model.training
    with torch.no_grad(), torch.random.fork_rng(), contextlib.ExitStack() as stack:
        torch.manual_seed(1)
        modes = {module: module.training for module in model.modules()}
        stack.callback(lambda: [setattr(m, "training", mode) for m, mode in modes.items()])
        model.eval()
        if isinstance(inputs, dict):
            out = model(**inputs)
        else:
            out = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    assert model.training is training
    return list(_tensors(out))


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
