"""The regularity of trained weights, one checkpoint or several depths, as tables and JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limits.exceptions import ShapeError
from limits.user_models import DepthRegularity, WeightRegularity, weight_regularity
from limits.user_models.weights.checkpoints import (
    Network,
    StoredStack,
    missing_layers,
    split_networks,
)
from limits.user_models.weights.hurst_index import FEWEST_LAYERS, regularity_of_stack

__all__ = ["CheckpointReport", "read_checkpoints"]

_NORMS = (
    ("max_norm", "largest |V_k|"),
    ("root_sum_squares", "root sum of squares"),
    ("sqrt_quadratic_variation", "root of quadratic variation"),
    ("cumulative_sum_norm", "|sum of V_k|"),
    ("variation_ratio", "variation / sum of squares"),
)
_OF_WEIGHTS = {
    "smooth": "change smoothly from layer to layer",
    "rough": "are independent from layer to layer",
    "between": "are correlated across layers, not smooth",
    "unclear": "leave open whether they are smooth or rough: there are too few layers to tell",
}
_OF_NETWORK = {
    "smooth": "the network is ODE-like",
    "rough": "the network is SDE-like",
    "between": "the network is between SDE and ODE",
}
# Adapters are added to matrices that stay: they are not what the branches multiply by.
_ADAPTER = "lora_"
_ENTRIES = 4096
_MOST_MATRICES = 32


@dataclass(frozen=True)
class CheckpointReport:
    """What trained weights look like across layers.

    Parameters
    ----------
    names : tuple of str
        What to call the checkpoints, one a network: shards are one.
    pattern : str
        Name of the weight.
    networks : tuple of WeightRegularity
        One a checkpoint.
    together : DepthRegularity or None
        Slopes in depth, where there are several depths.
    missing : tuple of tuple of int
        Layers between the first and the last that a checkpoint does not hold.
    matrices : tuple of dict
        Verdict on every matrix of these layers, by its pattern, from some of its entries.
    """

    names: tuple[str, ...]
    pattern: str
    networks: tuple[WeightRegularity, ...]
    together: DepthRegularity | None
    missing: tuple[tuple[int, ...], ...] = ()
    matrices: tuple[dict[str, str], ...] = ()

    @property
    def verdict(self) -> str:
        """``smooth``, ``rough`` or ``between``; by the slopes where there are several depths."""
        return (self.together or self.networks[0]).verdict

    @property
    def meaning(self) -> str:
        """What follows: for the network only if all matrices of its branches agree."""
        these = f"these tensors {_OF_WEIGHTS[self.verdict]}"
        found = {name: verdict for each in self.matrices for name, verdict in each.items()}
        others = [name for name, verdict in found.items() if verdict != self.verdict]
        if self.pattern not in found:
            return f"{these}; they are no matrices, and say nothing about the network"
        if _ADAPTER in self.pattern:
            return f"{these}; they belong to an adapter, and say nothing about the network"
        if others:
            listed = ", ".join(f"{name} is {found[name]}" for name in others[:3])
            more = f" and {len(others) - 3} more differ" if len(others) > 3 else ""
            return f"{these}, but not all matrices of these layers do: {listed}{more}"
        if self.verdict == "unclear":
            return these
        all_of_them = "the only matrices" if len(found) == 1 else f"all {len(found)} matrices"
        return (
            f"{these}, {all_of_them} of these layers that the checkpoint holds: "
            f"{_OF_NETWORK[self.verdict]}"
        )

    def table(self) -> Group:
        """Return the report for a terminal."""
        head = Text.assemble(
            ("Weights across layers: ", "bold"), (self.verdict, "bold cyan"), f" ({self.pattern})"
        )
        parts: list[Table | Text] = [head, Text(self.meaning), self._file_table()]
        if self.together is not None:
            parts.append(self._slope_table(self.together))
        for name, gaps in zip(self.names, self.missing, strict=False):
            if gaps:
                listed = ", ".join(map(str, gaps[:8])) + (" ..." if len(gaps) > 8 else "")
                parts.append(
                    Text(
                        f"Note: {name} holds no layers {listed}; the layers around such a gap "
                        "were taken as neighbours.",
                        "yellow",
                    )
                )
        return Group(*parts)

    def json(self) -> bytes:
        """Return the numbers as JSON."""
        content = {
            "pattern": self.pattern,
            "verdict": self.verdict,
            "meaning": self.meaning,
            "networks": [
                {"file": name, **_numbers(each)}
                for name, each in zip(self.names, self.networks, strict=True)
            ],
            "matrices": list(self.matrices),
            "slopes": None if self.together is None else self.together.slopes,
            "beta": None if self.together is None else -self.together.slopes["max_norm"],
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def _file_table(self) -> Table:
        columns = ("file", "layers", "H [95 %]", *(label for _, label in _NORMS))
        table = Table(*columns, header_style="bold")
        for name, each in zip(self.names, self.networks, strict=True):
            hurst = f"{each.hurst:.2f} [{each.hurst_low:.2f}, {each.hurst_high:.2f}]"
            norms = [f"{getattr(each, name):.3g}" for name, _ in _NORMS]
            table.add_row(Text(name), str(each.depth), hurst, *norms)
        return table

    def _slope_table(self, together: DepthRegularity) -> Table:
        slopes = together.slopes
        b = -slopes["max_norm"]
        smooth = (-b, 0.5 - b, -0.5 - b, 1 - b, -1.0)
        rough = (-b, 0.5 - b, 0.5 - b, 0.5 - b, 0.0)
        table = Table(
            "slope in log L", "measured", "if smooth", "if independent", header_style="bold",
            title=f"Scaling with depth: weights ~ L^-b, b = {b:.2f}", title_justify="left",
        )  # fmt: skip
        for (name, label), one, other in zip(_NORMS, smooth, rough, strict=True):
            table.add_row(label, f"{slopes[name]:+.2f}", f"{one:+.2f}", f"{other:+.2f}")
        return table


def read_checkpoints(files: Sequence[Path], pattern: str) -> CheckpointReport:
    """Measure one weight across the layers of one or several checkpoints.

    Files that share no name are the shards of one network. Weights are read a part at a time.

    Raises
    ------
    StoreError
        If a file cannot be read, or is a pickle that would run code.
    ShapeError
        If the pattern fits nothing, or there are fewer than 6 layers.
    """
    opened = split_networks(files)
    stacks = [network.stack(pattern) for network in opened]
    networks = tuple(_measured(stack) for stack in stacks)
    several = len({each.depth for each in networks}) > 1
    return CheckpointReport(
        tuple(network.name for network in opened),
        pattern,
        networks,
        DepthRegularity(tuple(sorted(networks, key=lambda each: each.depth))) if several else None,
        tuple(missing_layers(stack.numbers) for stack in stacks),
        tuple(_matrices(network, pattern) for network in opened),
    )


def _measured(stack: StoredStack) -> WeightRegularity:
    if stack.depth < FEWEST_LAYERS:
        raise ShapeError(
            f"there are {stack.depth} weights called {stack.name}, and regularity needs at least "
            f"{FEWEST_LAYERS} layers. Choose a weight that more layers have."
        )
    found = regularity_of_stack(stack)
    if found.max_norm == 0:
        raise ShapeError(stack.all_zero)
    return found


def _matrices(network: Network, pattern: str) -> dict[str, str]:
    """Return the verdict on every matrix of the layers that a pattern is about."""
    found = {}
    for name, stack in list(network.matrices(pattern).items())[:_MOST_MATRICES]:
        some = stack.some(_ENTRIES)
        usable = some.is_floating_point() and bool(some.any()) and bool(some.isfinite().all())
        if stack.depth >= FEWEST_LAYERS and usable:
            found[name] = weight_regularity(some).verdict
    return found


def _numbers(each: WeightRegularity) -> dict[str, float | int | str]:
    norms = {name: float(getattr(each, name)) for name, _ in _NORMS}
    return {
        "layers": each.depth,
        "hurst": each.hurst,
        "hurst_low": each.hurst_low,
        "hurst_high": each.hurst_high,
        "verdict": each.verdict,
    } | norms
