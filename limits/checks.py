"""What a user may pass: one check and one sentence for every kind of argument."""

import math
from typing import get_args

import torch
from torch import Tensor

from limits.exceptions import DTypeError, LimitsError, ShapeError


def check_choice(value: str, name: str, choices: object) -> None:
    """Raise unless `value` is one of the strings of a Literal."""
    allowed = get_args(choices)
    if value not in allowed:
        listed = " or ".join(f'"{choice}"' for choice in allowed)
        raise LimitsError(f"{name} must be {listed}, found {value!r}.")


def check_seed(seed: object) -> int:
    """Return `seed` if it is a non-negative integer, else say what to pass."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise LimitsError(
            f"seed must be a non-negative integer, found {seed!r}. Pass for example seed=0."
        )
    return seed


def check_count(value: object, name: str) -> None:
    """Raise unless `value` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ShapeError(
            f"{name} must be a positive integer, found {value!r}. Pass for example {name}=64."
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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise LimitsError(
            f"{name} must be a positive finite number, found {value!r}. "
            f"Pass for example {name}={example}."
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
    number = isinstance(beta, int | float) and not isinstance(beta, bool)
    tensor = isinstance(beta, Tensor) and not beta.is_complex()
    finite = (number or tensor) and bool(torch.isfinite(torch.as_tensor(beta)).all())
    if beta is not None and not finite:
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
