"""Multiply the residual branches of a user's model by a factor that falls with depth."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limits.exceptions import BranchError, LimitsError
from limits.scalars import plain, plain_numbers
from limits.user_models.branches.calls import Call, Inputs, as_call, on_device_of
from limits.user_models.branches.compilation import compiled_anew
from limits.user_models.branches.finding import Branches, find_branches
from limits.user_models.branches.forward_graph import record

__all__ = ["BranchChoice", "ScaledResiduals", "Tau", "branches_by_name", "scale_residuals"]

Tau: TypeAlias = float | str | Callable[[int], float]
BranchChoice: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool]

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_RULE = re.compile(
    rf"(?:{_NUMBER}\*)?L(?:(?:\^|\*\*)\(?(-?){_NUMBER}\)?)?"
    rf"|{_NUMBER}/(?:(sqrt)\(L\)|L(?:(?:\^|\*\*){_NUMBER})?)"
)


@dataclass(frozen=True, eq=False, repr=False)
class ScaledResiduals:
    """Residual branches that are multiplied by a factor until `remove` is called.

    Parameters
    ----------
    branches : tuple of str
        Module of every branch, in the order of the forward pass.
    depth : int
        Number of branches L along a forward pass.
    tau : float
        The factor.
    rule : str
        How it was asked for.
    """

    branches: tuple[str, ...]
    depth: int
    tau: float
    rule: str
    _handles: tuple[RemovableHandle, ...] = field(default=())

    def remove(self) -> None:
        """Take the factor off again; the model is then what it was.

        Raises
        ------
        LimitsError
            If this is a copy, which holds on to no model.
        """
        if not self._handles:
            raise LimitsError(
                f"this is a copy of the record of {self.depth} scaled branches, which holds on to "
                "no model. Call remove on the one that scale_residuals returned."
            )
        for handle in self._handles:
            handle.remove()
        compiled_anew()

    def __reduce__(self) -> tuple[object, ...]:
        # What was done travels; the hooks stay with the model.
        return ScaledResiduals, (self.branches, self.depth, self.tau, self.rule)

    def __enter__(self) -> "ScaledResiduals":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        names = self.branches
        listed = ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} ... {names[-1]}"
        return f"{self.depth} residual branches times {self.tau:.4g} (tau={self.rule}): {listed}"


@plain_numbers
def scale_residuals(
    model: nn.Module,
    tau: Tau = "1/sqrt(L)",
    *,
    branch: BranchChoice | None = None,
    inputs: Inputs | None = None,
) -> ScaledResiduals:
    """Multiply every residual branch of a model: h + f(h) becomes h + tau f(h).

    Without normalisation on the stream, a network of independently initialised layers whose
    branches have mean zero given h is stable forward and backward at any depth if and only if tau
    = O(1/sqrt(L)), L the number of branches (a transformer layer has two). The factor is applied
    by forward hooks: ``state_dict`` has the same keys and values with and without it, in both
    directions, and copies and pickles of the model keep it. A checkpoint does not hold the factor:
    call this again on the model that you load it into. What ``torch.compile`` has made so far is
    dropped, and made again with the factor at the next call.

    Parameters
    ----------
    model : nn.Module
        Changed in place, until `ScaledResiduals.remove`.
    tau : str, float or callable
        ``"1/sqrt(L)"``, ``"1/L"``, ``"2/sqrt(L)"``, ``"L^-0.4"``, ``"0.5*L^-0.5"``; a number; or
        a function of L.
    branch : str, sequence of str or callable, optional
        Modules that return f(h): a pattern such as ``"blocks.*.branch"``, their names, or a
        predicate of ``(name, module)``. Found by running the model once when left out.
    inputs : optional
        What to run the model on: a batch, a tuple of arguments, a dict, a DataLoader. Guessed
        from the first layer when left out. With `branch` the model runs only if this is given,
        to see that the modules chosen are called.

    Returns
    -------
    ScaledResiduals
        ``.branches``, ``.depth``, ``.tau``, ``.remove()``; printing it says what was found. It
        is a context manager as well.

    Raises
    ------
    BranchError
        If no branch is found, or not for sure, or the model never calls one that was chosen, or
        it is scaled already. Pass `branch`, or call ``remove`` first.
    LimitsError
        If `tau` is not understood or not a positive number.

    References
    ----------
    Zhang, Yu, Yi, Chen, Liu, "Stabilize deep ResNet with a sharp scaling factor tau", Machine
    Learning (2022), Theorems 1 and 2; Marion et al. (2025), Theorem 4.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True, norm_first=True)
    >>> model = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
    >>> scale_residuals(model)
    16 residual branches times 0.25 (tau=1/sqrt(L)): layers.0.dropout1, layers.0.dropout2 ...
    layers.7.dropout2
    """
    modules = dict(model.named_modules())
    scaled = [name for name, module in modules.items() if _scales_of(module)]
    if scaled:
        raise BranchError(
            f"{len(scaled)} branches of {type(model).__name__} are scaled already, the first is "
            f"{scaled[0]!r}. Call .remove() on what scale_residuals returned before scaling again."
        )
    branches = (
        find_branches(model, inputs=inputs) if branch is None else branches_by_name(model, branch)
    )
    if branch is not None and inputs is not None:
        _check_called(model, branches.names, as_call(inputs))
    factor = _factor(tau, branches.depth)
    handles = []
    for name, kind, place in dict.fromkeys(
        zip(branches.names, branches.kinds, branches.places, strict=True)
    ):
        hook = _Scale(factor, kind, place)
        handles.append(modules[name].register_forward_hook(hook))
    compiled_anew()
    rule = tau if isinstance(tau, str) else f"{tau:g}" if isinstance(tau, float | int) else "given"
    return ScaledResiduals(branches.names, branches.depth, factor, rule, tuple(handles))


@dataclass(frozen=True)
class _Scale:
    """A forward hook that multiplies a branch; a class, so that models can be pickled."""

    tau: float
    kind: Literal["branch", "block"]
    place: int | None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self.kind == "block":
            return torch.lerp(args[0], output, self.tau)
        if self.place is None or isinstance(output, Tensor):
            return output * self.tau
        changed = list(output)
        changed[self.place] = changed[self.place] * self.tau
        return type(output)(changed)


def _scales_of(module: nn.Module) -> list[_Scale]:
    # A hook survives deepcopy and pickle as an equal object, never as the same one.
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, _Scale)]


def branches_by_name(model: nn.Module, choice: BranchChoice) -> Branches:
    """Return the modules that a pattern, names or a predicate choose.

    Raises
    ------
    BranchError
        If nothing is chosen, a name does not exist, or a module is inside another one.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(choice, str):
        parts = choice.replace("{}", "*").split(".")
        names = [name for name in modules if _matches(name.split("."), parts)]
    elif callable(choice):
        names = [name for name, module in modules.items() if choice(name, module)]
    else:
        names = list(choice)
        missing = [name for name in names if name not in modules]
        if missing:
            raise BranchError(
                f"{type(model).__name__} has no module named {missing[0]!r} ({len(missing)} of "
                f"{len(names)} names are unknown). Its modules are {_some(list(modules))}."
            )
    if not names:
        raise BranchError(
            f"branch={choice!r} matches none of the {len(modules)} modules of "
            f"{type(model).__name__}, which are {_some(list(modules))}. Choose some of these."
        )
    chosen = set(names)
    nested = [
        name
        for name in names
        if any(name[:end] in chosen for end in range(len(name)) if name[end] == ".")
    ]
    if nested:
        raise BranchError(
            f"{nested[0]!r} is inside another chosen module and would be scaled twice "
            f"({len(nested)} such). Choose only modules that return a whole branch."
        )
    unasked = [name for name in names if _is_read_only(modules, name)]
    if unasked:
        raise BranchError(
            f"{unasked[0]!r} is never called: the attention around it reads its weights, so what "
            f"is chosen would not be scaled ({len(unasked)} such). Choose the attention itself, "
            f"{unasked[0].rpartition('.')[0]!r}."
        )
    places = tuple(0 if isinstance(modules[n], nn.MultiheadAttention) else None for n in names)
    return Branches(tuple(names), ("branch",) * len(names), places, "the names given")


def _check_called(model: nn.Module, names: Sequence[str], call: Call) -> None:
    """Raise if a forward pass leaves out a module whose output was to be scaled."""
    called = {each.name for each in record(model, on_device_of(call, model)).calls}
    silent = [name for name in names if name not in called]
    if silent:
        raise BranchError(
            f"{len(silent)} of the {len(names)} modules chosen are not called on {call.origin}: "
            f"{silent[0]!r} would not be scaled. Choose modules that "
            f"{type(model).__name__} calls and that return a whole branch."
        )


def _is_read_only(modules: dict[str, nn.Module], name: str) -> bool:
    parent, _, own = name.rpartition(".")
    return own == "out_proj" and isinstance(modules.get(parent), nn.MultiheadAttention)


def _matches(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(map(fnmatchcase, name, pattern))


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" ... {names[-1]}" if len(names) > 8 else "")


def _factor(tau: Tau, depth: int) -> float:
    """Return the number that a rule gives at a depth."""
    asked = _of_rule(tau, depth) if isinstance(tau, str) else tau(depth) if callable(tau) else tau
    value = plain(asked)
    if isinstance(value, bool) or not isinstance(value, float | int) or not 0 < value < 1e30:
        raise LimitsError(
            f"tau must be a positive number at L = {depth}, found {value!r}. Use for example "
            '"1/sqrt(L)" or 0.1.'
        )
    return float(value)


def _of_rule(rule: str, depth: int) -> float:
    match = _RULE.fullmatch(rule.replace(" ", ""))
    if match is None:
        raise LimitsError(
            f'tau={rule!r} is not understood. Write "1/sqrt(L)", "1/L", "2/sqrt(L)", "1/L^0.4", '
            '"L^-0.4" or "0.5*L^-0.5", or pass a number or a function of L.'
        )
    factor, sign, exponent, numerator, root, power = match.groups()
    if numerator is None:
        return float(factor or 1) * depth ** float(f"{sign or ''}{exponent or 1}")
    return float(numerator) * depth ** -(0.5 if root else float(power or 1))
