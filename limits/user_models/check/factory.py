"""Models from a user's factory: built with seeds, checked, and their residual sums found."""

import itertools
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import nn

from limits.exceptions import BranchError, LimitsError, NonFiniteStateError
from limits.randomness import Stream
from limits.user_models.branches.calls import Call, Inputs, as_call, first_that_runs, on_device_of
from limits.user_models.branches.finding import stream_of
from limits.user_models.branches.forward_graph import Graph, record
from limits.user_models.branches.naming import BranchChoice, chosen_names
from limits.user_models.check.probes import Probe, roles_of
from limits.user_models.weights.across_layers import equal_layers

__all__ = ["ModelFactory", "ModelFamily"]

ModelFactory: TypeAlias = Callable[[int], nn.Module]


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
    _call: Call | None = field(default=None, init=False)
    _notes: dict[str, None] = field(default_factory=dict, init=False)
    _weights: list[torch.Tensor] = field(default_factory=list, init=False)
    _names: list[str | None] = field(default_factory=list, init=False)

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

    def probe(self, depth: int) -> Probe:
        """Find the residual sums of the models of one depth.

        Raises
        ------
        BranchError
            If there are none.
        LimitsError
            If the model fails on the inputs.
        """
        model = self.build(depth, 0)
        self._check_parameters(model, depth)
        graph, call = self._run(model, depth)
        names = None
        if self.branch is not None:
            names = frozenset(chosen_names(model, self.branch))
        stream = stream_of(graph, names=names)
        if not stream.additions:
            raise BranchError(
                f"found no residual branches in {type(model).__name__} at depth {depth}: none of "
                f"the {graph.n_additions} additions of its forward pass adds f(h) to h"
                + (" for the modules named" if names else "")
                + ". The check needs residual blocks, h + f(h)."
            )
        self._names = stream.modules
        if stream.n_unclear:
            self._note(
                f"{stream.n_unclear} sums at depth {depth} were left out, since both operands pass "
                "through weights and neither is clearly a shortcut."
            )
        roles = roles_of(graph, stream.additions)
        if len({role.stage for role in roles.values()}) > 1:
            self._note("The stream has stages of several shapes; what they add up to is combined.")
        return Probe(call, roles, graph.n_additions)

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

    def check_counts(self, counts: Mapping[int, int]) -> None:
        """Raise if the models do not have more residual branches at larger depth."""
        values = list(counts.values())
        if len(values) > 1 and any(b <= a for a, b in itertools.pairwise(values)):
            listed = ", ".join(f"{count} at depth {depth}" for depth, count in counts.items())
            raise LimitsError(
                f"the models do not get deeper: residual branches found are {listed}. Let "
                "make_model(depth) build as many blocks as it is told to."
            )

    def attributes(self) -> dict[str, str | int]:
        """Return what was found, for the attributes of a dataset."""
        modules = [name for name in dict.fromkeys(self._names) if name]
        listed = ", ".join(modules[:3]) + (f" ... {modules[-1]}" if len(modules) > 3 else "")
        hooked = None not in self._names
        outside = "computed outside of modules, where scale_residuals cannot reach them"
        some = f"{self._names.count(None)} of {len(self._names)} {outside}"
        found = ", ".join([listed] * bool(listed) + [some if listed else outside] * (not hooked))
        found = f"Branches of the deepest model: {found}."
        call = self._call
        origin = f"Run on {call.origin}." if call else ""
        return {
            "notes": json.dumps([found, origin, *self._notes]),
            "branch": self.branch if isinstance(self.branch, str) else "",
            "hooked": int(hooked),
        }

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
