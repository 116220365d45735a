"""Watch the residual streams of any model while it runs, without changing the model."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limits.user_models.branches.graph.joins import Addition, addition_of, join_of
from limits.user_models.check.watching.layouts import Layouts, placed

__all__ = ["Observer", "Role", "Stage", "norm_of"]


@dataclass(frozen=True)
class Role:
    """What one addition of a forward pass is: h + f(h) number `block` of a stream.

    A stage is a stretch of a stream whose states have the same entries; `ends` marks its last sum.
    """

    stream: int
    block: int
    stage: int
    group: int
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
    frozen : set of int
        Streams that stay at their first state, so that every branch answers to the same state.
    scale : float
        Factor of every other branch.
    start : float
        Factor of the first state of every stage.
    gradients : bool
        Whether gradients of the streams are watched as well.
    moving : bool
        Whether the entries of a stream change places between sums.
    """

    roles: Mapping[int, Role]
    frozen: frozenset[int] = frozenset()
    scale: float = 1.0
    start: float = 1.0
    gradients: bool = False
    moving: bool = False
    stages: dict[int, Stage] = field(default_factory=dict, init=False)
    stream_norms: dict[int, list[Tensor]] = field(init=False)
    update_norms: dict[int, list[Tensor]] = field(init=False)
    final_norms: dict[int, Tensor] = field(default_factory=dict, init=False)
    gradient_norms: dict[int, dict[int, Tensor]] = field(init=False)
    last: dict[int, Tensor] = field(default_factory=dict, init=False)
    n_additions: int = field(default=0, init=False)
    reached: bool = field(default=False, init=False)
    _cotangents: dict[Role, Tensor] = field(default_factory=dict, init=False)
    _indices: dict[Role, Tensor | None] = field(default_factory=dict, init=False)
    _layouts: Layouts = field(default_factory=Layouts, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.stream_norms, self.update_norms = defaultdict(list), defaultdict(list)
        self.gradient_norms = defaultdict(dict)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        join = join_of(func, args, kwargs)
        role = None if join is None else self.roles.get(self.n_additions)
        self.n_additions += join is not None
        addition = None if role is None else addition_of(func, args, kwargs)
        if role is None or addition is None:
            result = func(*args, **kwargs)
            if self.moving:
                self._layouts.see(func, args, kwargs, result)
            return result
        second = addition.second if addition.alpha == 1 else addition.alpha * addition.second
        skip, branch = (addition.first, second)[:: 1 if role.skip_first else -1]
        self._indices[role] = self._layouts.of(skip) if self.moving else None
        begins = role.stage not in self.stages
        self._note(role, skip, branch)
        total = self._sum(func, args, kwargs, addition, role, skip, branch, begins=begins)
        self._watch(role, skip, total)
        return total

    def _sum(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Any,
        addition: Addition,
        role: Role,
        skip: Tensor,
        branch: Tensor,
        *,
        begins: bool,
    ) -> Tensor:
        scale, start = 0.0 if role.stream in self.frozen else self.scale, self.start
        if scale == 1 and (start == 1 or not begins):
            return func(*args, **kwargs)
        first = start * skip if begins else skip
        total = first.clone() if scale == 0 else first + scale * branch
        # The caller may go on with the tensor that was changed, not with what is returned.
        return addition.first.copy_(total) if addition.in_place else total

    @torch.no_grad()
    def _note(self, role: Role, skip: Tensor, branch: Tensor) -> None:
        frozen = role.stream in self.frozen
        update = branch if frozen or self.scale == 1 else self.scale * branch
        norm = norm_of(update)
        self.stream_norms[role.stream].append(norm_of(skip))
        self.update_norms[role.stream].append(norm)
        if frozen:
            update = update / norm.clamp(min=1e-300).to(update.dtype)
        stage = self.stages.get(role.stage)
        if stage is None:
            first_norm = self.stream_norms[role.stream][-1]
            self.stages[role.stage] = Stage(skip.detach().clone(), first_norm, update.clone())
            self._indices[role] = None
        else:
            stage.total += placed(update, self._indices[role], stage.total)

    def _watch(self, role: Role, skip: Tensor, total: Tensor) -> None:
        """Take notice of the sum, and of the gradients that will reach it and its first operand."""
        if self.gradients and total.requires_grad:
            # Hooks see gradients from the last block to the first.
            total.register_hook(self._cotangent_of(role))
            if skip.requires_grad:
                skip.register_hook(self._gradient_of(role))
        if role.ends:
            stage, final = self.stages[role.stage], total.detach()
            self.final_norms[role.stage] = norm_of(final)
            stage.moved = norm_of(placed(final, self._indices[role], stage.first) - stage.first)
        if self.moving:
            self._layouts.follow(role.stage, total, self._indices[role])
        self.last[role.stream] = total

    def _cotangent_of(self, role: Role) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            self._cotangents[role] = gradient
            self.gradient_norms[role.stream][role.block + 1] = norm_of(gradient)

        return note

    def _gradient_of(self, role: Role) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            stage = self.stages[role.stage]
            through_branch = gradient - self._cotangents.pop(role)
            through_branch = placed(through_branch, self._indices[role], stage.first)
            if stage.gradient_total is None:
                stage.gradient_total = through_branch
            else:
                stage.gradient_total += through_branch
            if role.block == 0:
                self.gradient_norms[role.stream][0] = norm_of(gradient)

        return note


def norm_of(tensor: Tensor) -> Tensor:
    """Return the Euclidean norm, also where the squares overflow in the tensor's own precision."""
    # On the CPU converting costs more than the norm, and waiting for a number costs nothing.
    if not tensor.is_cuda and tensor.dtype in (torch.float32, torch.float64):
        norm = torch.linalg.vector_norm(tensor)
        if 0 < norm.item() < math.inf:
            return norm.double()
    return torch.linalg.vector_norm(tensor, dtype=torch.float64)
