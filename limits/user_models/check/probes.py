"""The numbers of one model: what its residual streams do, at one depth and one draw of weights."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limits.exceptions import BranchError, LimitsError
from limits.user_models.branches.calls import Call
from limits.user_models.branches.compilation import uncompiled
from limits.user_models.branches.forward_graph import Graph
from limits.user_models.branches.residual_sums import ResidualAddition
from limits.user_models.check.observer import Observer, Role, norm_of

__all__ = [
    "Measurement",
    "Probe",
    "check_deterministic",
    "output_tensor",
    "roles_of",
    "without_dropout",
]

_ALLOWED_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Measurement:
    """One model at one moment; norms are Euclidean over the whole batch.

    Parameters
    ----------
    change, stream_change : float
        |sum_k f_k| / |h_0|, what the branches add up to, and |h_L - h_0| / |h_0|: the same where
        nothing but branches acts on the stream. Over several stages: root of the sum of squares.
    log_norm : float
        log(|h_L| / |h_0|), summed over stages.
    gradient_change, gradient_log_norm : float
        The same for gradients p_k of a random linear loss, from the output to the input:
        |sum_k (p_k - p_(k+1))| / |p_L| and log(|p_0| / |p_L|). NaN if not asked for.
    update_size : float
        Root mean square of |f_k| / |h_k|.
    stream, contribution, gradient : tuple of float
        |h_k| / |h_0|, |f_k| / |h_k| and |p_k| / |p_L| by layer.
    """

    change: float
    stream_change: float
    log_norm: float
    gradient_change: float
    gradient_log_norm: float
    update_size: float
    stream: tuple[float, ...]
    contribution: tuple[float, ...]
    gradient: tuple[float, ...]


@dataclass(frozen=True)
class Probe:
    """How the models of one depth are measured.

    Parameters
    ----------
    call : Call
        Their inputs.
    roles : mapping
        Their residual sums.
    n_additions : int
        All additions of a forward pass, residual or not.
    generator_seed : int
        Of the loss that gradients are taken of.
    """

    call: Call
    roles: Mapping[int, Role]
    n_additions: int
    generator_seed: int = 0

    @property
    def n_blocks(self) -> int:
        """Number of residual sums L."""
        return len(self.roles)

    def read(self, model: nn.Module, *, scale: float = 1.0, gradients: bool = True) -> Measurement:
        """Return the numbers of one forward pass, and one backward pass if asked for."""
        observer = self._observed(model, scale, gradients=gradients)
        norms = [_number(norm) for norm in observer.stream_norms]
        updates = [_number(norm) for norm in observer.update_norms]
        ends = self._stage_ends()
        finals = {stage: _number(norm) for stage, norm in observer.final_norms.items()}
        stages = observer.stages.values()
        firsts = [_number(stage.first_norm) for stage in stages]
        change = _root_of_squares([_norm(stage.total) for stage in stages], firsts)
        moved = [math.inf if stage.moved is None else _number(stage.moved) for stage in stages]
        stream = [*norms, finals[max(finals)]]
        shares = [_ratio(update, norm) for update, norm in zip(updates, norms, strict=True)]
        backward = self._backward(observer, ends) if gradients else (math.nan, math.nan, ())
        return Measurement(
            change=change,
            stream_change=_root_of_squares(moved, firsts),
            log_norm=self._log_norm(observer),
            gradient_change=backward[0],
            gradient_log_norm=backward[1],
            update_size=math.sqrt(sum(share**2 for share in shares) / len(shares)),
            stream=tuple(_ratio(norm, stream[0]) for norm in stream),
            contribution=tuple(shares),
            gradient=backward[2],
        )

    def frozen(self, model: nn.Module) -> tuple[float, float, float]:
        """Return |sum of unit updates|, the update size, and log(|h_L| / |h_0|) without branches.

        All branches answer to one frozen state; the last is 0 if only they act on the stream.
        """
        observer = self._observed(model, 0.0, gradients=False)
        total = sum(_norm(stage.total) ** 2 for stage in observer.stages.values())
        shares = [
            _ratio(_number(update), _number(norm))
            for update, norm in zip(observer.update_norms, observer.stream_norms, strict=True)
        ]
        size = math.sqrt(sum(share**2 for share in shares) / len(shares))
        return math.sqrt(total), size, self._log_norm(observer)

    def features(self, model: nn.Module) -> Tensor:
        """Return the state after the last residual sum."""
        return _last(self._observed(model, 1.0, gradients=False)).detach().clone()

    def _observed(self, model: nn.Module, scale: float, *, gradients: bool) -> Observer:
        observer = Observer(self.roles, scale, gradients)
        context: AbstractContextManager[Any] = nullcontext() if gradients else torch.no_grad()
        call = self.call.mapped(_differentiable if gradients else torch.clone)
        with context, without_dropout(model), uncompiled(), observer:
            output = model(*call.args, **call.kwargs)
        if observer.n_additions != self.n_additions:
            raise BranchError(
                f"{type(model).__name__} made {self.n_additions} additions in one forward pass and "
                f"{observer.n_additions} in another one. Make its forward pass the same every "
                "time, for example by switching off stochastic depth."
            )
        if gradients:
            self._pull_back(model, output)
        return observer

    def _pull_back(self, model: nn.Module, output: object) -> None:
        value = output_tensor(output, model)
        if not value.requires_grad:
            raise LimitsError(
                f"the output of {type(model).__name__} has no gradient, neither by its parameters "
                "nor by its inputs. Call model.requires_grad_(True) in the factory, and compute "
                "nothing under torch.no_grad()."
            )
        generator = torch.Generator().manual_seed(self.generator_seed)
        cotangent = torch.empty(value.shape, dtype=torch.float32, device="cpu")
        wanted = [p for p in model.parameters() if p.requires_grad]
        before = [parameter.grad for parameter in wanted]
        for parameter in wanted:
            parameter.grad = None
        value.backward(cotangent.normal_(generator=generator).to(value))
        for parameter, gradient in zip(wanted, before, strict=True):
            parameter.grad = gradient

    def _log_norm(self, observer: Observer) -> float:
        return sum(
            _log(_number(observer.final_norms[stage]), _number(observer.stream_norms[first]))
            for stage, (first, _) in self._stage_ends().items()
        )

    def _stage_ends(self) -> dict[int, tuple[int, int]]:
        """Return the first and the last block of every stage."""
        ends: dict[int, tuple[int, int]] = {}
        for role in self.roles.values():
            first, last = ends.get(role.stage, (role.block, role.block))
            ends[role.stage] = min(first, role.block), max(last, role.block)
        return ends

    def _backward(
        self, observer: Observer, ends: Mapping[int, tuple[int, int]]
    ) -> tuple[float, float, tuple[float, ...]]:
        norms = {block: _number(norm) for block, norm in observer.gradient_norms.items()}
        if self.n_blocks not in norms:
            return math.nan, math.nan, ()
        changes, logs = [], []
        for stage, (first, last) in ends.items():
            total = observer.stages[stage].gradient_total
            end = norms.get(last + 1, math.nan)
            changes.append(_ratio(_norm(total), end) if total is not None else math.nan)
            logs.append(_log(norms.get(first, math.nan), end))
        gradient = [norms.get(k, math.nan) for k in range(self.n_blocks + 1)]
        return (
            math.sqrt(sum(change**2 for change in changes)),
            sum(logs),
            tuple(_ratio(norm, gradient[-1]) for norm in gradient),
        )


def roles_of(graph: Graph, additions: list[ResidualAddition]) -> dict[int, Role]:
    """Return the place of every residual sum; stages differ in the shape of the stream."""
    roles: dict[int, Role] = {}
    stage, shape = -1, None
    for block, each in enumerate(additions):
        if graph.nodes[each.total].shape != shape:
            stage, shape = stage + 1, graph.nodes[each.total].shape
        following = additions[block + 1 : block + 2]
        ends = all(graph.nodes[other.total].shape != shape for other in following)
        roles[each.addition] = Role(block, stage, each.skip_first, ends)
    return roles


def check_deterministic(probe: Probe, model: nn.Module) -> None:
    """Raise if two forward passes on the same batch differ.

    Raises
    ------
    LimitsError
        With the difference.
    """
    first, second = probe.features(model), probe.features(model)
    if not bool(torch.isfinite(first).all()):
        return
    difference = _ratio(_norm(first - second), _norm(first))
    if difference > _ALLOWED_DIFFERENCE:
        raise LimitsError(
            f"{type(model).__name__} is not deterministic: two forward passes on the same batch "
            f"differ by {difference:.1%}. Dropout layers are off in the check; switch off "
            "what else is random: call .eval() in the factory for dropout by a function."
        )


class without_dropout:  # noqa: N801
    """Switch dropout layers to evaluation for a while; everything else keeps its mode."""

    def __init__(self, model: nn.Module) -> None:
        kinds = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention)
        self._modules = [each for each in model.modules() if isinstance(each, kinds)]

    def __enter__(self) -> None:
        self._modes = [module.training for module in self._modules]
        for module in self._modules:
            module.training = False

    def __exit__(self, *error: object) -> None:
        for module, mode in zip(self._modules, self._modes, strict=True):
            module.training = mode


def output_tensor(output: object, model: nn.Module) -> Tensor:
    """Return the tensor of real numbers that a model returned, the first if there are several."""
    held = list(output.values()) if isinstance(output, Mapping) else output
    values = held if isinstance(held, tuple | list) else [held]
    found: list[Tensor] = [
        value for value in values if isinstance(value, Tensor) and value.is_floating_point()
    ]
    if not found:
        raise LimitsError(
            f"{type(model).__name__} returned {type(output).__name__} without a tensor of real "
            "numbers. Wrap it in a module that returns its prediction as a tensor."
        )
    return found[0]


def _differentiable(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    # A copy of the leaf, so that models may begin with an operation in place.
    return tensor.detach().requires_grad_(True).clone()


def _last(observer: Observer) -> Tensor:
    if observer.last is None:
        raise BranchError("no residual sum was seen. Pass a model with residual branches.")
    return observer.last


def _norm(tensor: Tensor) -> float:
    return _number(norm_of(tensor.detach()))


def _number(norm: Tensor) -> float:
    return math.inf if math.isnan(float(norm)) else float(norm)


def _ratio(value: float, unit: float) -> float:
    if not math.isfinite(value) or not math.isfinite(unit):
        return math.inf
    return value / unit if unit > 0 else math.nan


def _root_of_squares(values: list[float], units: list[float]) -> float:
    return math.hypot(*map(_ratio, values, units))


def _log(value: float, unit: float) -> float:
    ratio = _ratio(value, unit)
    return math.log(ratio) if ratio > 0 else -math.inf if ratio == 0 else math.nan
