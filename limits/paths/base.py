"""The law of the weights across layers: the random object at the centre of the library."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from limits.checks import check_count, check_dtype, check_seed, checked_device
from limits.exceptions import LimitsError
from limits.paths.lazy.draw import LazyDraw
from limits.paths.sample import WeightSample
from limits.paths.sources import Source
from limits.randomness import Stream
from limits.scalars import plain_numbers
from limits.scaling import critical_beta

__all__ = ["Family", "WeightPath"]

Family = Literal["brownian", "iid", "smooth", "persistent", "antipersistent", "trained"]


@plain_numbers
@dataclass(frozen=True)
class WeightPath(ABC):
    """The law of a random matrix-valued function X of layer time t in [0, 1].

    A network of depth L sees the increments dX_k = X_{(k+1)/L} - X_{k/L}; the weights a
    practitioner initialises are V_k = L^gamma dX_k, with entries of variance 1 / width.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    """

    width: int

    independent_gaussian: ClassVar[bool] = False
    """Whether layers are independent with i.i.d. Gaussian entries, so that draws can be lazy."""

    def __post_init__(self) -> None:
        check_count(self.width, "width")

    @property
    @abstractmethod
    def family(self) -> Family:
        """Which row of the theorem table (`limits.depth_limit`) the law belongs to."""

    @property
    @abstractmethod
    def index(self) -> float:
        """Index gamma: 1/2 i.i.d., H fractional, 1 smooth."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of the law in streams, tags, plots and provenance."""

    @property
    def critical_beta(self) -> float:
        """Exponent beta with a non-trivial limit, max(index, 1/2)."""
        return critical_beta(self.index)

    def sample(
        self,
        *,
        depth: int,
        n_paths: int,
        seed: int,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
        lazy: bool = False,
    ) -> WeightSample:
        """Draw weight paths that any network whose depth divides `depth` can read.

        Nothing is stored: the numbers are made again, always the same, when they are read.

        Parameters
        ----------
        depth : int
            Number of layers L of the deepest reading.
        n_paths : int
            Number of independent draws. The first n of a longer draw are the same paths.
        seed : int
            Non-negative integer of any size.
        dtype : torch.dtype
            float64 or float32. Random numbers are float32 in both cases, so that both see the
            same path; products and sums are in `dtype`.
        device : str or torch.device
            Where products are computed; numbers are drawn on the CPU, so a seed means one path
            everywhere.
        lazy : bool
            Never form the matrices: answer every product with the part of them that it reveals,
            given what earlier products revealed. The law is exact and a product costs O(width)
            instead of O(width^2). For independent Gaussian layers only. The draw remembers its
            answers, so that several calls on it see the same matrices; where these would take
            more than half a gigabyte for one product per layer, it serves a single call. What a
            lazy draw is depends on what it is asked: two of one seed are not the same path.

        Returns
        -------
        WeightSample
            The draw.

        Raises
        ------
        LimitsError
            If `depth` or `n_paths` is not a positive integer, `seed` not a non-negative one, or
            the law has no lazy draws. Use `BrownianPath`, or leave out ``lazy=True``.
        DTypeError
            If `dtype` is neither float32 nor float64, or `device` is not available here.

        Examples
        --------
        >>> import limits
        >>> sample = limits.BrownianPath(4).sample(depth=64, n_paths=16, seed=0)
        >>> sample.at_depth(8).increments.shape
        torch.Size([8, 16, 4, 4])

        >>> sample = limits.BrownianPath(1000).sample(depth=64, n_paths=4, seed=0, lazy=True)
        >>> limits.ResNet("relu")(torch.ones(1, 1000, dtype=torch.float64), sample).terminal.shape
        torch.Size([4, 1, 1000])
        """
        check_count(depth, "depth")
        check_count(n_paths, "n_paths")
        check_seed(seed)
        check_dtype(dtype)
        place = checked_device(device)
        draw = None
        if self._is_lazy(lazy):
            draw = LazyDraw(
                depth=depth, n_paths=n_paths, width=self.width, dtype=dtype, device=place
            )
        return WeightSample(
            path=self,
            depth=depth,
            n_paths=n_paths,
            seed=seed,
            dtype=dtype,
            device=place,
            role="outer",
            drawn_depth=depth,
            lazy=draw,
        )

    def _is_lazy(self, lazy: bool) -> bool:
        if not isinstance(lazy, bool):
            raise LimitsError(f"lazy must be True or False, found {lazy!r}.")
        if lazy and not self.independent_gaussian:
            raise LimitsError(
                f"{type(self).__name__} has no lazy draws: the unseen part of a matrix is known "
                "only for independent Gaussian layers. Use BrownianPath, or leave out lazy=True."
            )
        return lazy

    @abstractmethod
    def source(self, *, depth: int, seed: int, role: str) -> Source:
        """Return the numbers behind a draw; `role` names an independent copy of the path."""

    def weights_at(self, sample: WeightSample, time: float | Tensor) -> Tensor:
        """Return V(t) where weights have values between nodes; see `WeightSample.weights_at`."""
        raise LimitsError(
            f"{type(self).__name__} has increments but no weights at t={time}: i.i.d. weights have "
            "no value between layers. Use SmoothPath, or read sample.increments."
        )

    def stream(self, *, seed: int, role: str, depth: int | None) -> Stream:
        """Return the named stream of this law, one per depth where the draw depends on it."""
        at = "" if depth is None else f"/depth={depth}"
        return Stream(seed, f"{self.label}/width={self.width}{at}/{role}")
