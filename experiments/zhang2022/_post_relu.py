"""What the figures of the analysed model share: h_{k+1} = relu(h_k + tau W_k h_k)."""

from dataclasses import dataclass

import torch
from torch import Tensor

import limits
from limits.plots import BLUE, GREEN, ORANGE, PURPLE

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning 111 (2022), arXiv:1903.07120."
)
FEATURES = 64
"""Numbers in an input, standard normal."""


@dataclass(frozen=True)
class Look:
    """How a residual scale is drawn."""

    title: str
    colour: str
    marker: str


LOOKS = {
    1.0: Look(r"$\tau=L^{-1}$", PURPLE, "D"),
    0.5: Look(r"$\tau=L^{-1/2}$", BLUE, "o"),
    0.4: Look(r"$\tau=L^{-0.4}$", GREEN, "^"),
    0.25: Look(r"$\tau=L^{-1/4}$", ORANGE, "s"),
}


def network(beta: float, coefficient: float = 1.0) -> limits.ResNet:
    """Return the analysed network with tau = coefficient L^-beta."""
    return limits.ResNet("relu", block="post-relu", beta=beta, coefficient=coefficient)


def inputs(width: int, *, n_inputs: int, seed: int) -> Tensor:
    """Return h_0 = relu(A x), one per draw, shape ``(path, 1, width)``, float32.

    An input that no unit sees, of probability 2^-width, is turned round.
    """
    x = limits.Stream(seed, "inputs").normals(0, n_inputs, FEATURES)
    h0, turned = (
        limits.embed(each, width=width, seed=seed, dtype=torch.float32, activation="relu")
        for each in (x, -x)
    )
    return torch.where(h0.sum(dim=-1, keepdim=True) > 0, h0, turned).unsqueeze(1)
