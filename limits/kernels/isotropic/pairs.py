"""Pairs of depths that share their noise: which kernel advances them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from limits.kernels.isotropic.steps import IsotropicLaw, euler_steps
from limits.kernels.philox import Key
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES

__all__ = ["coupled_steps"]


def coupled_steps(
    deep: Tensor, shallow: Tensor | None, law: IsotropicLaw, key: Key, *, depth: int, path: int = 0
) -> None:
    """Overwrite states by those at time 1 of Euler's scheme of one or of two depths.

    Parameters
    ----------
    deep : Tensor
        ``(2, path, input, width)``, contiguous: on the noise, and on its mirror image.
    shallow : Tensor or None
        The same, for half the depth on sums of two normals.
    law, key, path
        As for `limits.kernels.isotropic.euler_steps`, whose states these are.
    depth : int
        Steps of the deep states.

    Examples
    --------
    >>> from limits.kernels import stream_key
    >>> h = torch.ones(2, 3, 1, 4)
    >>> coupled_steps(h, None, IsotropicLaw("identity", 1.0, 0.5), stream_key(0, "a"), depth=1)
    >>> torch.allclose(h.mean(dim=0), torch.ones(3, 1, 4))
    True
    """
    pairs = [(deep, 1)] if shallow is None else [(deep, 1), (shallow, 2)]
    if deep.is_cuda or deep.shape[2] > 1:
        for states, ratio in pairs:
            for image, sign in enumerate((1, -1)):
                turned = replace(law, scale=sign * law.scale)
                euler_steps(states[image], turned, key, drawn_depth=depth, ratio=ratio, path=path)
        return
    from limits.kernels.isotropic.pairs_cpu import coupled_one_input

    kind = np.float32 if deep.dtype == torch.float32 else np.float64
    second = deep.new_empty(2, 0, 1, deep.shape[3]) if shallow is None else shallow
    coupled_one_input(
        deep.flatten(2).numpy(),
        second.flatten(2).numpy(),
        depth,
        tuple(np.uint64(word) for word in key),
        *(tuple(kind(each) for each in law.numbers(depth, ratio)) for ratio in (1, 2)),
        ACTIVATION_CODES.index(law.activation),
        law.reflected,
        path,
    )
