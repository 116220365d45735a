"""The state of torch's random generator on the CPU, a Mersenne Twister."""

from functools import cache

import torch
from torch import Tensor

from limits.exceptions import LimitsError

__all__ = ["WORDS", "generator_of"]

WORDS = 624
"""Words of 32 bits in a state."""

_START = 24
_STOP = _START + 8 * WORDS


def generator_of(words: bytes) -> torch.Generator:
    """Return a generator whose state are these 624 words of 32 bits."""
    state = _fresh_state().clone()
    # The state keeps each 32-bit word in 64 bits, low half first.
    state[_START:_STOP].view(torch.int32)[::2] = torch.frombuffer(
        bytearray(words), dtype=torch.int32
    )
    generator = torch.Generator()
    generator.set_state(state)
    return generator


@cache
def _fresh_state() -> Tensor:
    state = torch.Generator().manual_seed(0).get_state()
    if state.numel() < _STOP:
        raise LimitsError(
            f"the random generator of torch {torch.__version__} has a state of {state.numel()} "
            f"bytes where at least {_STOP} were expected. Install torch>=2.6,<2.14."
        )
    return state
