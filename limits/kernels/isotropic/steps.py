"""Which kernel takes the steps: that of the device the states are on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from limits.kernels.philox import Key
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES, ActivationCode

__all__ = ["IsotropicLaw", "euler_steps", "has_steps"]

_AT_ONCE = 2**26
"""Numbers of one call, a quarter of a second with all that is done with them: between calls the
user may interrupt."""
_CUDA_FASTER = 2**7
_WIDEST_ON_CUDA = 2**14
"""States that the registers of one program hold."""


@dataclass(frozen=True)
class IsotropicLaw:
    """The coefficient of dH^a = scale sum_b R_ab(H) dB^b - decay H^a dt, as kernels know it.

    R R^T has entries strength <s(h^a), s(h^b)>; with `arc_cosine` it is the arc-cosine kernel of
    s(h^a) and s(h^b), whose diagonal is the same for a strength of one half.

    Parameters
    ----------
    activation : {"identity", "relu", "tanh", "gelu"}
        The s.
    strength, scale, decay : float
        As above.
    reflected : bool
        Whether states are projected onto the orthant after every step.
    arc_cosine : bool
        Of inputs that share a path.
    """

    activation: ActivationCode
    strength: float = 1.0
    scale: float = 1.0
    decay: float = 0.0
    reflected: bool = False
    arc_cosine: bool = False

    def numbers(self, drawn_depth: int, ratio: int) -> tuple[float, float, float]:
        """Return strength, factor of a normal and factor of the state of a step."""
        return self.strength, self.scale / drawn_depth**0.5, 1 - self.decay * ratio / drawn_depth


def euler_steps(
    states: Tensor,
    law: IsotropicLaw,
    key: Key,
    *,
    drawn_depth: int,
    ratio: int = 1,
    path: int = 0,
    record: Tensor | None = None,
    times: Sequence[int] = (),
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Overwrite states at time 0 by those at time 1 of Euler's scheme, and return them.

    h <- (1 - decay dt) h + scale R(h) dB, where dB are sums of `ratio` consecutive normals of
    variance 1 / drawn_depth, and dt = ratio / drawn_depth. The normal of unit j of input a in
    layer k of path p is that at the address (p, k, a width + j) of a stream. Other threads run
    meanwhile, and no number depends on how paths are divided among calls.

    Parameters
    ----------
    states : Tensor
        ``(path, input, width)``, contiguous, in float32 or float64.
    law : IsotropicLaw
        The equation.
    key : Key
        Of the stream.
    drawn_depth, ratio : int
        How many layers of normals there are, and how many of them make a step.
    path : int, default 0
        Number of the first path.
    record : Tensor, optional
        ``(time, path, input, width)``, contiguous; receives states after chosen steps.
    times : sequence of int
        The steps, increasing, counted from one.
    between : callable, optional
        Called before every compiled call, of which each lasts a fraction of a second; may raise.

    Examples
    --------
    >>> from limits.kernels import stream_key
    >>> law = IsotropicLaw("identity", 1.0, 0.5)
    >>> key, h0 = stream_key(0, "example"), torch.ones(3, 1, 4)
    >>> h = euler_steps(h0.clone(), law, key, drawn_depth=8)
    >>> part = euler_steps(h0[2:].clone(), law, key, drawn_depth=8, path=2)
    >>> bool((part == h[2:]).all())
    True
    """
    if not states.numel():
        return states
    layers = [ratio * step for step in times]
    rows = states.new_empty(0, *states.shape) if record is None else record
    steps = _on_cuda if states.is_cuda else _on_cpu
    at_once = _AT_ONCE * (_CUDA_FASTER if states.is_cuda else 1)
    most = max(1, at_once // (states.numel() * ratio)) * ratio
    for start in range(0, drawn_depth, most):
        between()
        part = (start, min(most, drawn_depth - start))
        steps(states, rows, layers, part, law, key, drawn_depth, ratio, path)
    return states


def has_steps(law: IsotropicLaw, states: Tensor) -> bool:
    """Return whether `euler_steps` knows the law, on the device and of the size of these states.

    Examples
    --------
    >>> has_steps(IsotropicLaw("identity", 1.0, 0.5), torch.ones(3, 1, 4, dtype=torch.float16))
    False
    """
    _, inputs, width = states.shape
    if states.dtype not in (torch.float32, torch.float64):
        return False
    if not states.is_cuda:
        return states.device.type == "cpu"
    if find_spec("triton") is None or width > _WIDEST_ON_CUDA:
        return False
    return inputs == 1 or (not law.arc_cosine and inputs**2 * width <= _WIDEST_ON_CUDA)


def _on_cpu(
    states: Tensor,
    record: Tensor,
    times: list[int],
    layers: tuple[int, int],
    law: IsotropicLaw,
    key: Key,
    drawn_depth: int,
    ratio: int,
    path: int,
) -> None:
    # Numba takes half a second to import, and not every command computes.
    from limits.kernels.isotropic.cpu import euler_one_input, euler_several_inputs

    kind = np.float32 if states.dtype == torch.float32 else np.float64
    inputs = states.shape[1]
    arguments = (
        states.detach().flatten(1).numpy(),
        record.detach().flatten(2).numpy(),
        np.array(times, dtype=np.int64),
        *layers,
        tuple(np.uint64(word) for word in key),
        tuple(kind(each) for each in law.numbers(drawn_depth, ratio)),
        ACTIVATION_CODES.index(law.activation),
        law.reflected,
        path,
    )
    if inputs == 1 and ratio == 1:
        euler_one_input(*arguments)
    else:
        euler_several_inputs(*arguments, inputs, ratio, law.arc_cosine)


def _on_cuda(
    states: Tensor,
    record: Tensor,
    times: list[int],
    layers: tuple[int, int],
    law: IsotropicLaw,
    key: Key,
    drawn_depth: int,
    ratio: int,
    path: int,
) -> None:
    from limits.kernels.isotropic.cuda import advance_one_input, advance_several_inputs

    start, count = layers
    advance = advance_one_input if states.shape[1] == 1 else advance_several_inputs
    later = [at for at in times if at > start]
    advance(
        states.detach(),
        record.detach()[len(times) - len(later) :],
        torch.tensor([*later, -1], dtype=torch.int64, device=states.device),
        torch.tensor(law.numbers(drawn_depth, ratio), dtype=states.dtype, device=states.device),
        key,
        path,
        (start, count // ratio, ratio),
        ACTIVATION_CODES.index(law.activation),
        reflected=law.reflected,
    )
