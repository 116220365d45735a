"""Where the entries of a stream are after views, transpositions and flattenings."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Layouts", "placed"]

_MOVES = frozenset(
    (
        Tensor.view, Tensor.reshape, torch.reshape, Tensor.flatten, torch.flatten,
        Tensor.unflatten, torch.unflatten, Tensor.transpose, torch.transpose, Tensor.permute,
        torch.permute, Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze,
        Tensor.movedim, torch.movedim, Tensor.swapaxes, torch.swapaxes, Tensor.view_as,
        Tensor.reshape_as, Tensor.t,
    )
)  # fmt: skip
_STAYS = frozenset(
    (
        Tensor.contiguous, Tensor.clone, torch.clone, Tensor.to, Tensor.float, Tensor.half,
        Tensor.bfloat16, Tensor.type_as, nn.functional.dropout, nn.functional.layer_norm,
        nn.functional.batch_norm, nn.functional.rms_norm, torch.relu, Tensor.relu, Tensor.relu_,
        nn.functional.relu,
    )
)  # fmt: skip


class Layouts:
    """Follow the states of streams from one sum to the next, entry by entry.

    What a sum returned is followed through views and transpositions by doing to the numbers of
    its entries what is done to it. None stands for the layout in which a stream began.
    """

    def __init__(self) -> None:
        # Tensors are held, since one that is freed would lend its id to another one.
        self._followed: dict[int, tuple[Tensor, Tensor | None, int]] = {}

    def follow(self, stage: int, state: Tensor, index: Tensor | None) -> None:
        """Follow the new state of a stage instead of the one before."""
        kept = {key: held for key, held in self._followed.items() if held[2] != stage}
        self._followed = kept | {id(state): (state, index, stage)}

    def of(self, state: Tensor) -> Tensor | None:
        """Return the numbers of the entries of a state, None if nothing has moved."""
        held = self._followed.get(id(state))
        return None if held is None else held[1]

    def see(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: object
    ) -> None:
        """Take notice of a function that was called, in case it moved what is followed."""
        given = args[0] if args else None
        if id(given) not in self._followed or not isinstance(given, Tensor):
            return
        if not isinstance(result, Tensor) or function not in _MOVES | _STAYS:
            return
        _, index, stage = self._followed[id(given)]
        if function in _MOVES:
            if index is None:
                index = torch.arange(given.numel(), device=given.device).view(given.shape)
            index = function(index, *args[1:], **kwargs)
        self._followed[id(result)] = result, index, stage


def placed(values: Tensor, index: Tensor | None, like: Tensor) -> Tensor:
    """Return values in the layout of `like`, given the numbers of their entries there."""
    if index is None:
        return values.reshape(like.shape)
    moved = values.new_empty(values.numel())
    return moved.index_copy_(0, index.reshape(-1), values.reshape(-1)).view(like.shape)
