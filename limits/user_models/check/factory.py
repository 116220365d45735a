"""Models from a user's factory: built with seeds, checked, and their residual sums found."""

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import nn

from limits.exceptions import BranchError, LimitsError, NonFiniteStateError
from limits.randomness import Stream
from limits.user_models.branches.calls import Call, Inputs, as_call, first_that_runs, on_device_of
from limits.user_models.branches.finding import stream_of
from limits.user_models.branches.forward_graph import record
from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.naming import BranchChoice, chosen_names
from limits.user_models.branches.scaling.scale import scale_residuals
from limits.user_models.branches.streams import Streams
from limits.user_models.check.choosing.multiplying import Chosen, choose, roles_of
from limits.user_models.check.choosing.stream_names import levels_of, named_sums
from limits.user_models.check.watching.evaluation import difference_of_passes, refuse_noise
from limits.user_models.check.watching.probes import Probe
from limits.user_models.weights.across_layers import equal_layers

__all__ = ["ModelFactory", "ModelFamily"]

ModelFactory: TypeAlias = Callable[[int], nn.Module]


@dataclass(frozen=True)
class _Seen:
    """A model that was run: its inputs and the residual streams of its forward pass."""

    model: nn.Module
    call: Call
    found: Streams


@dataclass
class ModelFamily:
    """The models of one factory, at any depth and seed.

    Parameters
    ----------
    make_model : callable
        The factory.
    seed : int
        Of the weights and of synthetic inputs.
    inputs, branch : optional
        As in `limits.depth_check`.
    """

    make_model: ModelFactory
    seed: int
    inputs: Inputs | None
    branch: BranchChoice | None
    chosen: Chosen = field(init=False)
    _call: Call | None = field(default=None, init=False)
    _notes: dict[str, None] = field(default_factory=dict, init=False)
    _weights: list[torch.Tensor] = field(default_factory=list, init=False)
    _names: list[str | None] = field(default_factory=list, init=False)
    _refusal: str = field(default="", init=False)

    def build(self, depth: int, draw: int) -> nn.Module:
        """Return the model of one depth with the weights of one seed.

        Raises
        ------
        LimitsError
            If the factory fails or returns something else than a module.
        """
        generator = Stream(self.seed, f"depth-check/{draw}").generator(0)
        state = generator.get_state()
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device="cpu")))
            torch.set_rng_state(state)
            try:
                model = self.make_model(depth)
            except LimitsError:
                raise
            except Exception as error:
                raise LimitsError(
                    f"make_model({depth}) failed: {type(error).__name__}: {error} "
                    f"({_place_of(error)}). It must take a depth and return a torch.nn.Module."
                ) from error
        if not isinstance(model, nn.Module):
            raise LimitsError(
                f"make_model({depth}) returned {type(model).__name__}. It must return a "
                "torch.nn.Module."
            )
        return model

    def probes(self, depths: Sequence[int]) -> dict[int, Probe]:
        """Find the residual sums of the models of all depths, and how they are to be measured.

        Raises
        ------
        BranchError
            If there are none.
        LimitsError
            If a model fails on the inputs, is random, or none gets deeper.
        """
        seen = {depth: self._look(depth) for depth in depths}
        found = {depth: each.found for depth, each in seen.items()}
        self.chosen = choose(named_sums(found))
        for sentence in self.chosen.notes:
            self._note(sentence)
        deepest = seen[depths[-1]].found
        self._names = deepest.modules
        for dropped in deepest.dropped:
            # Two ways of one branch are scaled with it: nothing is missing.
            if dropped.kind == "two ways":
                continue
            self._note(f"Left out at depth {depths[-1]}: {dropped.count} sums, {dropped.reason}.")
        levels = levels_of(found, self.chosen.streams)
        probes = {}
        for depth, each in seen.items():
            kept = self.chosen.sums[depth]
            probe = Probe(
                each.call,
                roles_of(kept, streams=self.chosen.streams, groups=self.chosen.groups),
                each.found.graph.n_additions,
                levels=levels,
                moving=any(one.moved for one in kept),
            )
            probes[depth] = self._quiet(probe, each.model).told_normalised(each.model)
        shallowest = seen[depths[0]]
        self._try_factor(shallowest.model, shallowest.call)
        evaluated = any(probe.evaluated for probe in probes.values())
        return {depth: replace(probe, evaluated=evaluated) for depth, probe in probes.items()}

    def _look(self, depth: int) -> _Seen:
        """Run the model of one depth and find its residual sums."""
        model = self.build(depth, 0)
        self._check_parameters(model, depth)
        graph, call = self._run(model, depth)
        names = None
        if self.branch is not None:
            names = frozenset(chosen_names(model, self.branch))
        found = stream_of(graph, names=names, origin=call.origin)
        if not found.streams:
            raise BranchError(
                f"found no residual branches in {type(model).__name__} at depth {depth}: none of "
                f"the {graph.n_additions} additions of its forward pass adds f(h) to h"
                + (" for the modules named" if names else "")
                + "".join(f"; {each.count} sums: {each.reason}" for each in found.dropped)
                + ". The check needs residual blocks, h + f(h)."
            )
        return _Seen(model, call, found)

    def _quiet(self, probe: Probe, model: nn.Module) -> Probe:
        """Return the probe in a mode in which two passes agree.

        Raises
        ------
        LimitsError
            If there is none.
        """
        if not difference_of_passes(probe.features, model):
            return probe
        evaluated = replace(probe, evaluated=True)
        left = difference_of_passes(evaluated.features, model)
        if left:
            refuse_noise(model, left)
        self._note(
            "The models are random in training mode, as with dropout written as a function, and "
            "were measured in evaluation mode (batch normalisation excepted)."
        )
        return evaluated

    def check_draw(self, model: nn.Module, draw: int) -> None:
        """Raise if two draws of the weights are one.

        Raises
        ------
        LimitsError
            If the second has the weights of the first.
        """
        if draw == 0:
            self._weights = [parameter.detach().clone() for parameter in model.parameters()]
        elif draw == 1 and all(map(torch.equal, self._weights, model.parameters())):
            raise LimitsError(
                "make_model returns the same weights for every seed, so intervals over seeds would "
                "mean nothing. Take torch.manual_seed out of the factory, and draw weights with "
                "torch's global generator (not numpy's); for weights that are fixed, as from a "
                "checkpoint, pass n_seeds=1, which gives numbers and no verdict."
            )

    def attributes(self) -> dict[str, str | int]:
        """Return what was found, for the attributes of a dataset."""
        modules = [name for name in dict.fromkeys(self._names) if name]
        listed = ", ".join(modules[:3]) + (f" ... {modules[-1]}" if len(modules) > 3 else "")
        outside = "computed outside of modules, where scale_residuals cannot reach them"
        some = f"{self._names.count(None)} of {len(self._names)} {outside}"
        missed = [some if listed else outside] * (None in self._names)
        found = f"Branches of the deepest model: {', '.join([listed] * bool(listed) + missed)}."
        call = self._call
        origin = f"Run on {call.origin}." if call else ""
        return {
            "notes": json.dumps([found, origin, *self._notes]),
            "branch": self.branch if isinstance(self.branch, str) else "",
            "refusal": self._refusal,
            "streams": json.dumps(self.chosen.streams),
            "groups": json.dumps(self.chosen.groups),
        }

    def _try_factor(self, model: nn.Module, call: Call) -> None:
        """Note why `limits.scale_residuals` refuses the model: nobody is told to call it then."""
        try:
            given = call.kwargs or call.args
            scale_residuals(model, 0.5, inputs=given, branch=self.branch).remove()
        except LimitsError as error:
            self._refusal = str(error)

    def _run(self, model: nn.Module, depth: int) -> tuple[Graph, Call]:
        if self._call is None and self.inputs is None:
            graph, call = first_that_runs(
                model, lambda call: (record(model, call), call), seed=self.seed
            )
            self._call = call
            return graph, call
        call = self._call or as_call(self.inputs if self.inputs is not None else ())
        self._call = on_device_of(call, model)
        try:
            return record(model, call), call
        except LimitsError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in call.tensors)
            raise LimitsError(
                f"the model of depth {depth} cannot run on {call.origin} of shape {shapes}: "
                f"{type(error).__name__}: {error}. Pass inputs= that fit models of every depth."
            ) from error

    def _check_parameters(self, model: nn.Module, depth: int) -> None:
        parameters = dict(model.named_parameters())
        if not parameters:
            raise LimitsError(
                f"the model of depth {depth} has no parameters. Register its weights as "
                "torch.nn.Parameter."
            )
        frozen = [name for name, each in parameters.items() if not each.requires_grad]
        if len(frozen) == len(parameters):
            raise LimitsError(
                f"all {len(frozen)} parameters of the model of depth {depth} are frozen "
                "(requires_grad=False), so there are no gradients to check. Call "
                "model.requires_grad_(True) in the factory."
            )
        if equal_layers(model):
            self._note(
                "All layers begin with equal weights, as in torch.nn.TransformerEncoder, which "
                "copies one layer: updates add up coherently. Draw every layer anew for "
                "independent ones."
            )
        if frozen:
            self._note(f"{len(frozen)} of {len(parameters)} parameters are frozen: {frozen[0]} ...")
        bad = [
            name
            for name, each in parameters.items()
            if not each.is_meta and not bool(torch.isfinite(each).all())
        ]
        if bad:
            raise NonFiniteStateError(
                f"{len(bad)} parameters of the model of depth {depth} hold NaN or infinity, the "
                f"first is {bad[0]!r}. Initialise them, or load a checkpoint from before the "
                "training diverged."
            )

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None


def _place_of(error: Exception) -> str:
    """Return file and line where the user's code raised, or called what raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames[1:] if "site-packages" not in each.filename] or frames[-1:]
    return f"{own[-1].filename}:{own[-1].lineno}"
