"""Watch the residual streams of any model while it runs, without changing the model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limits.user_models.branches.forward_graph import Addition, addition_of

__all__ = ["Observer", "Role", "Stage", "norm_of"]


@dataclass(frozen=True)
class Role:
    """What one addition of a forward pass is: h + f(h) number `block` of a stage.

    A stage is a stretch of the residual stream with states of one shape; `ends` marks its last sum.
    """

    block: int
    stage: int
    skip_first: bool
    ends: bool


@dataclass
class Stage:
    """What accumulates along one stage: the sum of updates, of unit length on a frozen stream.

    `moved` is the norm of the last state minus the first.
    """

    first: Tensor
    first_norm: Tensor
    total: Tensor
    gradient_total: Tensor | None = None
    moved: Tensor | None = None


@dataclass(eq=False)
class Observer(TorchFunctionMode):
    """Measure every residual sum of a forward pass, and of the backward pass if there is one.

    Parameters
    ----------
    roles : mapping of int to Role
        The residual sums among all additions, by their position.
    scale : float
        Factor of every branch; 0 leaves the stream frozen at its first state, so that every
        branch answers to the same state.
    gradients : bool
        Whether gradients of the stream are watched as well.
    """

    roles: Mapping[int, Role]
    scale: float = 1.0
    gradients: bool = False
    stages: dict[int, Stage] = field(default_factory=dict, init=False)
    stream_norms: list[Tensor] = field(default_factory=list, init=False)
    update_norms: list[Tensor] = field(default_factory=list, init=False)
    final_norms: dict[int, Tensor] = field(default_factory=dict, init=False)
    gradient_norms: dict[int, Tensor] = field(default_factory=dict, init=False)
    last: Tensor | None = field(default=None, init=False)
    n_additions: int = field(default=0, init=False)
    _cotangents: dict[int, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        addition = addition_of(func, args, kwargs)
        if addition is None:
            return func(*args, **kwargs)
        role = self.roles.get(self.n_additions)
        self.n_additions += 1
        if role is None:
            return func(*args, **kwargs)
        second = addition.second if addition.alpha == 1 else addition.alpha * addition.second
        skip, branch = (addition.first, second)[:: 1 if role.skip_first else -1]
        self._note(role, skip, branch)
        total = self._sum(func, args, kwargs, addition, skip, branch)
        if self.gradients and total.requires_grad:
            # Hooks see gradients from the last block to the first.
            total.register_hook(self._cotangent_of(role))
            if skip.requires_grad:
                skip.register_hook(self._gradient_of(role))
        if role.ends:
            last, stage = total.detach(), self.stages[role.stage]
            self.final_norms[role.stage] = norm_of(last)
            stage.moved = norm_of(last - stage.first)
        self.last = total
        return total

    def _sum(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Any,
        addition: Addition,
        skip: Tensor,
        branch: Tensor,
    ) -> Tensor:
        if self.scale == 1:
            return func(*args, **kwargs)
        total = skip.clone() if self.scale == 0 else skip + self.scale * branch
        # The caller may go on with the tensor that was changed, not with what is returned.
        return addition.first.copy_(total) if addition.in_place else total

    @torch.no_grad()
    def _note(self, role: Role, skip: Tensor, branch: Tensor) -> None:
        update = branch if self.scale in (0, 1) else self.scale * branch
        norm = norm_of(update)
        self.stream_norms.append(norm_of(skip))
        self.update_norms.append(norm)
        if self.scale == 0:
            update = update / norm.clamp(min=1e-300).to(update.dtype)
        stage = self.stages.get(role.stage)
        if stage is None:
            self.stages[role.stage] = Stage(
                skip.detach().clone(), self.stream_norms[-1], update.clone()
            )
        else:
            stage.total += update

    def _cotangent_of(self, role: Role) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            self._cotangents[role.block] = gradient
            self.gradient_norms[role.block + 1] = norm_of(gradient)

        return note

    def _gradient_of(self, role: Role) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            through_branch = gradient - self._cotangents.pop(role.block)
            stage = self.stages[role.stage]
            if stage.gradient_total is None:
                stage.gradient_total = through_branch
            else:
                stage.gradient_total += through_branch
            if role.block == 0:
                self.gradient_norms[0] = norm_of(gradient)

        return note


def norm_of(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm, also where the squares overflow in the tensor's own precision."""
    # On the CPU converting costs more than the norm, and waiting for a number costs nothing.
    if not tensor.is_cuda and tensor.dtype in (torch.float32, torch.float64):
        norm = torch.linalg.vector_norm(tensor)
        if 0 < norm.item() < math.inf:
            return norm.double()
    return torch.linalg.vector_norm(tensor, dtype=torch.float64)
