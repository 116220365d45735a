"""What a user may pass: one check and one sentence for every kind of argument."""

import math
from collections.abc import Sequence
from typing import TypeGuard, get_args

import torch
from torch import Tensor

from limits.exceptions import DTypeError, LimitsError, NonFiniteStateError, ShapeError

__all__ = [
    "check_beta",
    "check_beta_length",
    "check_choice",
    "check_coefficient",
    "check_count",
    "check_counts",
    "check_dtype",
    "check_finite",
    "check_positive",
    "check_power",
    "check_progress",
    "check_seed",
    "checked_device",
    "checked_times",
    "is_count",
    "is_number",
]


def check_choice(value: str, name: str, choices: object, remedy: str = "") -> None:
    """Raise unless `value` is one of the strings of a Literal; `remedy` adds a sentence."""
    allowed = get_args(choices)
    if value not in allowed:
        listed = " or ".join(f'"{choice}"' for choice in allowed)
        raise LimitsError(f"{name} must be {listed}, found {value!r}. {remedy}".rstrip())


def is_count(value: object, *, least: int = 1) -> TypeGuard[int]:
    """Say whether `value` is an integer from `least` on; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> TypeGuard[float]:
    """Say whether `value` is a finite int or float; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_seed(seed: object) -> int:
    """Return `seed` if it is a non-negative integer, else say what to pass."""
    if not is_count(seed, least=0):
        raise LimitsError(
            f"seed must be a non-negative integer, found {seed!r}. Pass for example seed=0."
        )
    return seed


def check_count(value: object, name: str, *, least: int = 1) -> None:
    """Raise unless `value` is a positive integer, or an integer from `least` on."""
    if not is_count(value, least=least):
        wanted = {0: "a non-negative integer", 1: "a positive integer"}.get(
            least, f"an integer from {least} on"
        )
        raise ShapeError(f"{name} must be {wanted}, found {value!r}. Pass for example {name}=64.")


def check_counts(values: Sequence[object], name: str) -> None:
    """Raise unless `values` are positive integers, at least one."""
    if not values or not all(map(is_count, values)):
        raise ShapeError(
            f"{name} must be positive integers, found {tuple(values)}. Use for example "
            f"{name}=(8, 16, 32)."
        )


def check_dtype(dtype: object) -> None:
    """Raise unless `dtype` is one in which paths can be read."""
    if dtype not in (torch.float32, torch.float64):
        raise DTypeError(
            f"weights can be read as torch.float32 or torch.float64, asked for {dtype}. "
            "Pass dtype=torch.float64 (or torch.float32 for speed)."
        )


def check_positive(value: float, name: str, example: float) -> None:
    """Raise unless `value` is a positive finite number."""
    if not is_number(value) or value <= 0:
        raise LimitsError(
            f"{name} must be a positive finite number, found {value!r}. "
            f"Pass for example {name}={example}."
        )


def check_power(p: object) -> None:
    """Raise unless `p` is 1 or 2, the powers of a norm over paths."""
    if p not in (1, 2):
        raise LimitsError(f"p must be 1 or 2, found {p!r}.")


def check_coefficient(value: object) -> None:
    """Raise unless `value` is a finite number."""
    if not is_number(value):
        raise LimitsError(f"coefficient must be a finite number, found {value!r}. Use 1.0.")


def check_progress(progress: object) -> None:
    """Raise unless `progress` is None or can be called."""
    if progress is not None and not callable(progress):
        raise LimitsError(
            f"progress must be callable as progress(done, total, label), found {progress!r}. "
            "Leave it out for silence."
        )


def check_finite(tensor: Tensor, name: str, remedy: str = "Clean the data first.") -> None:
    """Raise unless every entry of the tensor is finite; say how many are not.

    Parameters
    ----------
    tensor : Tensor
        Of any shape.
    name : str
        What the sentence calls it, in the singular.
    remedy : str
        What to do about it, a sentence.
    """
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    if bad:
        raise NonFiniteStateError(
            f"{name} has {bad} NaN or infinite entries out of {tensor.numel()}. {remedy}"
        )


def checked_device(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it."""
    try:
        wanted = torch.device(device)
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, TypeError) as error:
        gpus = torch.cuda.device_count()
        raise DTypeError(
            f"device {device!r} was asked for, but torch cannot use it here ({gpus} CUDA devices "
            'found). Pass device="cpu".'
        ) from error
    return wanted


def checked_times(time: float | Tensor) -> Tensor:
    """Return layer times as a float64 tensor on the CPU, if they lie in [0, 1]."""
    try:
        times = torch.as_tensor(time, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimitsError(
            f"weights_at needs layer times in [0, 1], found {time!r}. Pass t = k / L, a number or "
            "a one-dimensional tensor."
        ) from error
    if times.ndim > 1 or not bool(((times >= 0) & (times <= 1)).all()):
        raise LimitsError(
            f"weights_at needs layer times in [0, 1], a number or a one-dimensional tensor; "
            f"found shape {tuple(times.shape)} with values from {float(times.min()):.3g} to "
            f"{float(times.max()):.3g}. Pass t = k / L."
        )
    return times


def check_beta(beta: object) -> None:
    """Raise unless `beta` is None, a finite number, or a real tensor of finite numbers."""
    if isinstance(beta, Tensor):
        usable = not beta.is_complex() and bool(torch.isfinite(beta).all())
    else:
        usable = beta is None or is_number(beta)
    if not usable:
        raise LimitsError(
            f"beta must be a finite number or a tensor with one finite value per input, found "
            f"{beta!r}. Use for example 0.5, or leave it out for the path's critical exponent."
        )


def check_beta_length(beta: float | Tensor | None, n_inputs: int) -> None:
    """Raise unless a tensor of exponents has one value per input."""
    if isinstance(beta, Tensor) and beta.ndim and beta.shape != (n_inputs,):
        raise ShapeError(
            f"beta has shape {tuple(beta.shape)} for {n_inputs} inputs. Pass a number, or one "
            f"value per input, shape ({n_inputs},)."
        )
