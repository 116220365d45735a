"""The regularity of trained weights, one checkpoint or several depths, as tables and JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limits.user_models import DepthRegularity, WeightRegularity, weight_regularity
from limits.user_models.weights.checkpoints import missing_layers, read_numbered

__all__ = ["CheckpointReport", "read_checkpoints"]

_NORMS = (
    ("max_norm", "largest |V_k|"),
    ("root_sum_squares", "root sum of squares"),
    ("sqrt_quadratic_variation", "root of quadratic variation"),
    ("cumulative_sum_norm", "|sum of V_k|"),
    ("variation_ratio", "variation / sum of squares"),
)
_MEANING = {
    "smooth": "weights change smoothly from layer to layer: the network is ODE-like",
    "rough": "weights are independent from layer to layer: the network is SDE-like",
    "between": "weights are correlated across layers, not smooth: between SDE and ODE",
}


@dataclass(frozen=True)
class CheckpointReport:
    """What trained weights look like across layers.

    Parameters
    ----------
    files : tuple of Path
        The checkpoints.
    pattern : str
        Name of the weight.
    networks : tuple of WeightRegularity
        One a file.
    together : DepthRegularity or None
        Slopes in depth, where there are several depths.
    missing : tuple of tuple of int
        Layers between the first and the last that a file does not hold, one tuple a file.
    """

    files: tuple[Path, ...]
    pattern: str
    networks: tuple[WeightRegularity, ...]
    together: DepthRegularity | None
    missing: tuple[tuple[int, ...], ...] = ()

    @property
    def verdict(self) -> str:
        """``smooth``, ``rough`` or ``between``; by the slopes where there are several depths."""
        return (self.together or self.networks[0]).verdict

    def table(self) -> Group:
        """Return the report for a terminal."""
        head = Text.assemble(
            ("Weights across layers: ", "bold"), (self.verdict, "bold cyan"), f" ({self.pattern})"
        )
        parts: list[Table | Text] = [head, Text(_MEANING[self.verdict]), self._file_table()]
        if self.together is not None:
            parts.append(self._slope_table(self.together))
        for file, gaps in zip(self.files, self.missing, strict=False):
            if gaps:
                listed = ", ".join(map(str, gaps[:8])) + (" ..." if len(gaps) > 8 else "")
                parts.append(
                    Text(
                        f"Note: {file.name} holds no layers {listed}; the layers around such a gap "
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
            "networks": [
                {"file": str(file), **_numbers(each)}
                for file, each in zip(self.files, self.networks, strict=True)
            ],
            "slopes": None if self.together is None else self.together.slopes,
            "beta": None if self.together is None else -self.together.slopes["max_norm"],
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def _file_table(self) -> Table:
        columns = ("file", "layers", "H [95 %]", *(label for _, label in _NORMS))
        table = Table(*columns, header_style="bold")
        for file, each in zip(self.files, self.networks, strict=True):
            hurst = f"{each.hurst:.2f} [{each.hurst_low:.2f}, {each.hurst_high:.2f}]"
            norms = [f"{getattr(each, name):.3g}" for name, _ in _NORMS]
            table.add_row(Text(file.name), str(each.depth), hurst, *norms)
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

    Raises
    ------
    StoreError
        If a file cannot be read, or is a pickle that would run code.
    ShapeError
        If the pattern fits nothing, or there are fewer than 16 layers.
    """
    numbers, stacks = zip(*(read_numbered(file, pattern) for file in files), strict=True)
    networks = tuple(weight_regularity(stack) for stack in stacks)
    several = len({each.depth for each in networks}) > 1
    return CheckpointReport(
        tuple(files),
        pattern,
        networks,
        weight_regularity(stacks) if several else None,
        tuple(missing_layers(each) for each in numbers),
    )


def _numbers(each: WeightRegularity) -> dict[str, float | int | str]:
    norms = {name: float(getattr(each, name)) for name, _ in _NORMS}
    return {
        "layers": each.depth,
        "hurst": each.hurst,
        "hurst_low": each.hurst_low,
        "hurst_high": each.hurst_high,
        "verdict": each.verdict,
    } | norms
