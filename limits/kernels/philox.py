"""Where a number comes from: the address, the words, and what is made of them.

**Key.** SHAKE-128 of the text ``limits:{seed}:{name}`` gives twelve bytes, read as three 32-bit
words k0, k1, k2, little endian. Ninety-six bits, because keys of 64 bits come close to a collision
when billions of names are drawn.

**Words.** Philox4x32-10 with key (k0, k1) and counter (entry // 4, layer, path, k2) gives four
32-bit words w0, w1, w2, w3; entry 4 q + i uses lane i. Lanes are neighbouring entries, not
distant ones, so that n entries cost ceil(n / 4) blocks for every n, and an address means the same
whatever else is drawn. Loops work on four planes, one a lane, and weave them at the end; a fused
kernel keeps its state in planes and never weaves.

**Normals.** Box-Muller: (w0, w1) make lanes 0 and 1, and (w2, w3) lanes 2 and 3. Of a radius word
w, u = (float(w >> 1) + 1/2) / 2^31 and r = sqrt(-2 log u), at most 6.66. Of an angle word, the low
29 bits give x = pi/4 float(w mod 2^29) / 2^29; bit 29 exchanges cos x and sin x; bit 31 is the
sign of the first, bit 30 that of the second. Every step is one float32 multiplication, addition
or square root, rounded to nearest, in the order of `reference`: no fused multiply-add, no function
of a library, hence the same bits everywhere.

**Uniforms** on [0, 1) are float(w >> 8) / 2^24; **centred** ones are float(w), w read as signed,
times a scale; **signs** are -1 where bit 31 is set. Lane i uses word i. A stream makes one kind.

References
----------
Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC (2011); Box and
Muller, Ann. Math. Stat. 29 (1958); FIPS 202 (SHAKE-128).

Examples
--------
Five test vectors, (seed, name, path, layer, entry) and the bits of the normal.

>>> import torch
>>> from limits.kernels import reference
>>> for seed, name, path, layer, entry in [
...     (0, "a", 0, 0, 0),
...     (0, "a", 0, 0, 3),
...     (1, "weights", 7, 1023, 41),
...     (2**40, "Grüße", 2**31, 5, 2**33 + 2),
...     (12, "brownian/width=40/outer", 999, 2**32 - 1, 1598),
... ]:
...     one = torch.empty(1, 1, 1)
...     reference.write(one, stream_key(seed, name), "normal", layer, path, entry)
...     print(f"{one.view(torch.int32).item() % 2**32:08x}")
3f925d53
3e88bcd9
bfb77162
bf5e7e28
bfcc0404
"""

import hashlib
from typing import Literal, NamedTuple

__all__ = ["KINDS", "STREAM_VERSION", "Key", "NumberKind", "stream_key"]

STREAM_VERSION = 2
"""Recorded with every result. Equal seeds of another version gave other numbers; results that do
not say their version are of the first."""

NumberKind = Literal["normal", "uniform", "centred", "sign"]
"""What is made of a word."""

KINDS: tuple[NumberKind, ...] = ("normal", "uniform", "centred", "sign")
"""A kind's place is its code in compiled loops."""

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85

ROOT_HALF = 0x3F3504F3
"""Bits of sqrt(1/2) in float32: mantissas are taken from there to sqrt(2)."""

# Minimax polynomials, lowest power first. With x in [sqrt(1/2) - 1, sqrt(2) - 1]:
# -2 log(1 + x) = -2 x + x^2 (1 + x p(x)), to 3e-7 of its value.
LOGARITHM = (
    -0.6666849255561829, 0.49966534972190857, -0.3984900712966919,
    0.34274256229400635, -0.3204875886440277, 0.20383448898792267,
)  # fmt: skip
# With x in [0, pi / 4] and z = x^2: sin x = x + x z p(z), cos x = 1 + z p(z), to 4e-8.
SINE = -0.16666655242443085, 0.008332177996635437, -0.0001951729936990887
COSINE = -0.49999895691871643, 0.04165629297494888, -0.0013597822980955243
DOUBLE_LOG_2 = 1.3862943611198906
ANGLE = 0.7853981633974483 * 2.0**-29


class Key(NamedTuple):
    """Ninety-six bits: the key of Philox, and the last word of its counter."""

    k0: int
    k1: int
    k2: int


def stream_key(seed: int, name: str) -> Key:
    """Return the key of a stream, from SHAKE-128 of ``limits:{seed}:{name}``.

    Examples
    --------
    >>> stream_key(0, "a") == stream_key(0, "b")
    False
    """
    digest = hashlib.shake_128(f"limits:{seed}:{name}".encode()).digest(12)
    return Key(*(int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8)))
