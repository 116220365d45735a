"""Named random streams: numbers that are a function of their address.

A number is fixed by (seed, name, path, layer, entry) alone, so that it depends neither on how many
are drawn, nor on their order, chunks, threads, workers or devices. How it is made stands in
`limits.kernels.philox`.
"""

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from limits.checks import check_seed
from limits.exceptions import LimitsError
from limits.kernels import Key, NumberKind, fill, stream_key
from limits.scalars import plain_numbers

__all__ = ["Stream"]

_WORDS = 624
_START, _STOP = 24, 24 + 8 * _WORDS


@plain_numbers
@dataclass(frozen=True)
class Stream:
    """A family of random numbers with a name, one for every path, layer and entry.

    Numbers are float32, the same whatever dtype or device they are used in. A stream has no state:
    asking twice gives the same numbers twice. It serves one kind of numbers; another kind at the
    same address is made of the same bits and depends on the first.

    Parameters
    ----------
    seed : int
        Any non-negative integer, of any size.
    name : str
        What is drawn; different names give independent numbers.

    Raises
    ------
    LimitsError
        If ``seed`` is not a non-negative integer.

    References
    ----------
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC (2011).

    Examples
    --------
    >>> stream = Stream(seed=0, name="example")
    >>> few, many = stream.normals(7, 1, 5), stream.normals(0, 48, 9)
    >>> bool((few[0] == many[7, :5]).all())
    True
    >>> layers = stream.normals(0, 48, 9, n_layers=3)
    >>> bool((layers[2] == stream.normals(0, 48, 9, layer=2)).all())
    True
    """

    seed: int
    name: str

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def label(self) -> str:
        """Seed and name as one word: equal labels mean equal numbers."""
        return f"{self.seed}:{self.name}"

    @cached_property
    def key(self) -> Key:
        """What kernels take instead of the name."""
        return stream_key(self.seed, self.name)

    def child(self, name: str) -> "Stream":
        """Return the stream of the same seed under a longer name."""
        return Stream(self.seed, f"{self.name}/{name}")

    def generator(self, number: int = 0, part: int = 0) -> torch.Generator:
        """Return a fresh sequential generator of torch, for permutations and the like.

        All 624 words of its state are made of the name and the two numbers.
        ``torch.manual_seed`` keeps only 32 bits of a seed, and hashed seeds of that width collide.
        """
        text = f"limits:{self.label}:{number}:{part}"
        words = bytearray(hashlib.shake_128(text.encode()).digest(4 * _WORDS))
        state = _fresh_state().clone()
        # The state keeps each 32-bit word in 64 bits, low half first.
        state[_START:_STOP].view(torch.int32)[::2] = torch.frombuffer(words, dtype=torch.int32)
        generator = torch.Generator()
        generator.set_state(state)
        return generator

    def normals(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        layer: int = 0,
        *,
        n_layers: int | None = None,
        first_entry: int = 0,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Tensor:
        """Return standard normals of shape ``(n_paths, size)`` in float32.

        Parameters
        ----------
        first_path, n_paths : int
            The paths.
        size : int
            Entries of each.
        layer : int, default 0
            The layer, or the first one.
        n_layers : int, optional
            How many layers; the shape is then ``(n_layers, n_paths, size)``.
        first_entry : int, default 0
            Number of the first entry.
        device : torch.device or str, default "cpu"
            Where to draw; the numbers are the same.
        out : Tensor, optional
            Where to put them, of that shape; fresh memory costs as much as the numbers. Its
            device counts. Only entries must be side by side.

        Raises
        ------
        LimitsError
            If `out` has another shape or is not float32, or an address is out of range.
        """
        at = (layer, first_path, first_entry)
        return self._draw("normal", at, (n_layers, n_paths, size), device, out)

    def uniforms(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        layer: int = 0,
        *,
        n_layers: int | None = None,
        first_entry: int = 0,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Tensor:
        """Return uniforms on [0, 1), multiples of 2^-24, with arguments as for `normals`."""
        at = (layer, first_path, first_entry)
        return self._draw("uniform", at, (n_layers, n_paths, size), device, out)

    def centred_uniforms(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        half_width: float,
        layer: int = 0,
        *,
        n_layers: int | None = None,
        first_entry: int = 0,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Tensor:
        """Return uniforms on [-`half_width`, `half_width`], other arguments as for `normals`."""
        at = (layer, first_path, first_entry)
        scale = half_width * 2.0**-31
        return self._draw("centred", at, (n_layers, n_paths, size), device, out, scale)

    def signs(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        layer: int = 0,
        *,
        n_layers: int | None = None,
        first_entry: int = 0,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Tensor:
        """Return -1 or 1, equally likely, with arguments as for `normals`."""
        at = (layer, first_path, first_entry)
        return self._draw("sign", at, (n_layers, n_paths, size), device, out)

    def _draw(
        self,
        kind: NumberKind,
        at: tuple[int, int, int],
        sizes: tuple[int | None, int, int],
        device: torch.device | str,
        out: Tensor | None,
        scale: float = 1.0,
    ) -> Tensor:
        n_layers, *rest = sizes
        shape = torch.Size(rest if n_layers is None else (n_layers, *rest))
        if out is None:
            out = torch.empty(shape, dtype=torch.float32, device=device)
        elif out.shape != shape:
            raise LimitsError(
                f"out must have the shape of what is drawn, {tuple(shape)}, found "
                f"{tuple(out.shape)}. Pass torch.empty{tuple(shape)}."
            )
        layer, path, entry = at
        memory = out.unsqueeze(0) if n_layers is None else out
        fill(memory, self.key, kind, layer=layer, path=path, entry=entry, scale=scale)
        return out


@cache
def _fresh_state() -> Tensor:
    state = torch.Generator().manual_seed(0).get_state()
    if state.numel() < _STOP:
        raise LimitsError(
            f"the random generator of torch {torch.__version__} has a state of {state.numel()} "
            f"bytes where at least {_STOP} were expected. Install torch>=2.6,<2.14."
        )
    return state
