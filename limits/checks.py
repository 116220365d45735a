"""What a user may pass: one check and one sentence for every kind of argument."""

import math
from collections.abc import Sequence
from typing import TypeGuard, get_args

import numpy as np
import torch
from torch import Tensor

from limits._typing import Array
from limits.exceptions import (
    DepthMismatchError,
    DTypeError,
    LimitsError,
    NonFiniteStateError,
    ShapeError,
)

__all__ = [
    "can_be_read",
    "check_beta",
    "check_beta_length",
    "check_choice",
    "check_coefficient",
    "check_count",
    "check_counts",
    "check_dtype",
    "check_finite",
    "check_hurst",
    "check_positive",
    "check_power",
    "check_progress",
    "check_real",
    "check_seed",
    "check_steps",
    "checked_array",
    "checked_device",
    "checked_times",
    "is_count",
    "is_number",
]


_LARGEST_COEFFICIENT = 1e150
_READABLE = frozenset(
    {
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    }
)  # fmt: skip


def check_choice(value: str, name: str, choices: object, remedy: str = "") -> None:
    """Raise unless `value` is one of the strings of a Literal; `remedy` adds a sentence."""
    allowed = get_args(choices)
    if not isinstance(value, str) or value not in allowed:
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


def can_be_read(dtype: object) -> bool:
    """Say whether `dtype` is one in which paths can be read."""
    return dtype in (torch.float32, torch.float64)


def check_dtype(dtype: object) -> None:
    """Raise unless `dtype` is one in which paths can be read."""
    if not can_be_read(dtype):
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
    """Raise unless `value` is a finite number whose square is one."""
    if not is_number(value) or abs(value) > _LARGEST_COEFFICIENT:
        raise LimitsError(
            f"coefficient must be a finite number whose square a float can hold, of at most "
            f"{_LARGEST_COEFFICIENT:g}, found {value!r}. Use 1.0."
        )


def check_hurst(value: object) -> None:
    """Raise unless `value` is a number strictly between 0 and 1."""
    if not is_number(value) or not 0 < value < 1:
        raise LimitsError(
            f"hurst must lie strictly between 0 and 1, found {value!r}. Use 0.5 for "
            "independent weights, or SmoothPath for weights that vary smoothly."
        )


def check_progress(progress: object) -> None:
    """Raise unless `progress` is None or can be called."""
    if progress is not None and not callable(progress):
        raise LimitsError(
            f"progress must be callable as progress(done, total, label), found {progress!r}. "
            "Leave it out for silence."
        )


def check_real(tensor: Tensor, name: str) -> None:
    """Raise `DTypeError` unless the tensor holds real numbers that can be read entry by entry.

    Complex numbers would lose their imaginary part; sparse and nested tensors, tensors without
    data and numbers of eight bits fail deep inside torch.
    """
    what, remedy = None, ""
    if tensor.is_nested:
        what, remedy = "a nested tensor", f"Pad it, for example with {name}.to_padded_tensor(0.0)"
    elif tensor.is_complex():
        what = f"complex ({tensor.dtype})"
        remedy = "Pass the real and the imaginary part one after the other"
    elif tensor.layout != torch.strided:
        what, remedy = f"sparse ({tensor.layout})", "Use .to_dense()"
    elif tensor.is_meta:
        what, remedy = "on the meta device, without data", 'Make it with device="cpu"'
    elif tensor.is_quantized or tensor.dtype not in _READABLE:
        what, remedy = f"{tensor.dtype}", "Convert it to torch.float64"
    if what is not None:
        raise DTypeError(f"{name} must be a dense tensor of real numbers, found {what}. {remedy}.")


def check_finite(tensor: Tensor, name: str, remedy: str = "Clean the data first.") -> None:
    """Raise unless the tensor is real and every entry finite; say how many are not.

    Parameters
    ----------
    tensor : Tensor
        Of any shape.
    name : str
        What the sentence calls it, in the singular.
    remedy : str
        What to do about it, a sentence.
    """
    check_real(tensor, name)
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    if bad:
        raise NonFiniteStateError(
            f"{name} has {bad} NaN or infinite entries out of {tensor.numel()}. {remedy}"
        )


def checked_array(values: object, name: str) -> Array:
    """Return numbers, in a tensor, an array or lists, as a float64 array on the CPU.

    Raises
    ------
    ShapeError, DTypeError
        If they are no numbers, or complex ones, whose imaginary part would be lost.
    """
    if isinstance(values, Tensor):
        check_real(values, name)
        values = values.detach().to("cpu", torch.float64)
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{name} must be numbers: {error}. Pass a tensor or an array.") from error
    if np.iscomplexobj(found):
        raise DTypeError(
            f"{name} must be real numbers, found complex ones ({found.dtype}). Pass the real and "
            "the imaginary part one after the other."
        )
    if found.dtype.kind not in "biuf":
        raise ShapeError(
            f"{name} must be numbers, found an array of {found.dtype}. Pass a tensor or an array."
        )
    return found.astype(np.float64)


def checked_device(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it."""
    try:
        wanted = torch.device(device)
        torch.empty(1, dtype=torch.float32, device=wanted)
    except (RuntimeError, AssertionError, TypeError) as error:
        gpus = torch.cuda.device_count()
        raise DTypeError(
            f"device {device!r} was asked for, but torch cannot use it here ({gpus} CUDA devices "
            'found). Pass device="cpu".'
        ) from error
    return wanted


def checked_times(time: float | Tensor, asker: str = "weights_at") -> Tensor:
    """Return layer times as a float64 tensor on the CPU, if they lie in [0, 1]."""
    if isinstance(time, Tensor):
        check_real(time, "the tensor of layer times")
    try:
        times = torch.as_tensor(time, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimitsError(
            f"{asker} needs layer times in [0, 1], found {time!r}. Pass t = k / L, a number or "
            "a one-dimensional tensor."
        ) from error
    if times.ndim > 1 or not bool(((times >= 0) & (times <= 1)).all()):
        raise LimitsError(
            f"{asker} needs layer times in [0, 1], a number or a one-dimensional tensor; "
            f"found shape {tuple(times.shape)} with values from {float(times.min()):.3g} to "
            f"{float(times.max()):.3g}. Pass t = k / L."
        )
    return times


def check_beta(beta: object) -> None:
    """Raise unless `beta` is None, a finite number, or a real tensor of finite numbers."""
    if isinstance(beta, Tensor):
        check_real(beta, "beta")
        usable = bool(torch.isfinite(beta).all())
    else:
        usable = beta is None or is_number(beta)
    if not usable:
        raise LimitsError(
            f"beta must be a finite number or a tensor with one finite value per input, found "
            f"{beta!r}. Use for example 0.5, or leave it out for the path's critical exponent."
        )


def check_steps(steps: object) -> None:
    """Raise unless `steps` is None or a positive integer."""
    if steps is not None and not is_count(steps):
        raise DepthMismatchError(
            f"steps must be a positive integer, found {steps!r}. Use for example steps=1024, or "
            "leave it out for the depth of the draw."
        )


def check_beta_length(beta: float | Tensor | None, n_inputs: int) -> None:
    """Raise unless a tensor of exponents has one value per input."""
    if isinstance(beta, Tensor) and beta.ndim and beta.shape != (n_inputs,):
        raise ShapeError(
            f"beta has shape {tuple(beta.shape)} for {n_inputs} inputs. Pass a number, or one "
            f"value per input, shape ({n_inputs},)."
        )
