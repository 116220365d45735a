"""What a depth check found: numbers in a dataset, and everything that is read off them."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from limits._typing import Regime
from limits.user_models.check.judgement import (
    Growth,
    Judgement,
    judge,
    kind_of,
    slopes,
    stream_factor,
)
from limits.user_models.check.recommendation import Recommendation, recommend
from limits.user_models.check.vocabulary import Direction, Likeness, Phase

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["DepthCheck"]

_DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


@dataclass(frozen=True, eq=False, repr=False)
class DepthCheck:
    """The result of `limits.depth_check`: verdicts, exponents and what to change.

    Parameters
    ----------
    dataset : Dataset
        All numbers, dimensions ``(phase, depth, seed)`` and ``layer`` or ``beta``. Everything
        else is computed from it, so that a stored check is a check.
    """

    dataset: "Dataset"

    def to_dataset(self) -> "Dataset":
        """Return the numbers."""
        return self.dataset

    @classmethod
    def from_dataset(cls, dataset: "Dataset") -> "DepthCheck":
        """Read back what `to_dataset` wrote."""
        return cls(dataset)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """``initial``, and ``trained`` if training steps were made."""
        return ("initial", "trained")[: self.dataset.sizes["phase"]]

    @property
    def depths(self) -> tuple[int, ...]:
        """What the factory was called with."""
        return tuple(int(depth) for depth in self.dataset["depth"].to_numpy())

    @property
    def branches(self) -> tuple[int, ...]:
        """Number of residual branches L that were found at every depth."""
        return tuple(int(count) for count in self.dataset["branches"].to_numpy())

    def judged(self, direction: Direction, phase: Phase) -> Judgement:
        """Return what depth does in one direction at one phase."""
        return judge(self.dataset.sel(phase=phase), direction)

    @cached_property
    def forward(self) -> Judgement:
        """Hidden states at initialisation."""
        return self.judged("forward", "initial")

    @cached_property
    def backward(self) -> Judgement:
        """Gradients at initialisation."""
        return self.judged("backward", "initial")

    @property
    def judgements(self) -> dict[tuple[Direction, Phase], Judgement]:
        """All verdicts by ``(direction, phase)``."""
        return {
            (direction, phase): self.judged(direction, phase)
            for phase in self.phases
            for direction in _DIRECTIONS
        }

    @property
    def verdict(self) -> Regime | None:
        """The regime at initialisation: explosion if either direction explodes, else forward."""
        if self.forward.regime and self.backward.regime == "explosion":
            return "explosion"
        return self.forward.regime

    @property
    def bounded(self) -> bool:
        """Whether an explosion is one of the branches only, in a stream that is normalised."""
        exploding = [each for each in (self.forward, self.backward) if each.regime == "explosion"]
        return bool(exploding) and all(each.bounded for each in exploding)

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, or why there is none."""
        if self.verdict == "explosion" != self.forward.regime:
            return self.backward.reason
        return self.forward.reason

    def growth(self, name: str, *, phase: Phase = "initial") -> Growth:
        """Return the exponent in depth of a variable of the dataset."""
        values = self.dataset[name].sel(phase=phase).to_numpy()
        return Growth.of_slopes(slopes(values, np.asarray(self.branches, float)))

    @cached_property
    def coherence(self) -> Growth:
        """Exponent with which unit updates at one frozen state add up: 1/2, H or 1."""
        return self.growth("frozen_sum")

    @cached_property
    def critical(self) -> Growth:
        """Critical exponent beta* = max(coherence, 1/2) of the branches before any scaling."""
        values = slopes(
            self.dataset["frozen_sum"].sel(phase="initial").to_numpy(),
            np.asarray(self.branches, float),
        )
        # The border applies to the mean: seed by seed it would cut off one side of the noise.
        found = Growth.of_slopes(values)
        return Growth(*(max(each, 0.5) for each in (found.value, found.low, found.high)))

    @cached_property
    def own_beta(self) -> Growth:
        """Exponent beta of the branches as they are, size ~ L^-beta."""
        found = self.growth("frozen_size")
        return Growth(-found.value, -found.high, -found.low)

    @property
    def kind(self) -> Likeness | None:
        """The limit at the critical scale: diffusive updates SDE-like, coherent ones ODE-like."""
        return kind_of(self.coherence)

    @property
    def cosine(self) -> float:
        """Mean cosine between two updates of the deepest network at one frozen state."""
        total = self.dataset["frozen_sum"].sel(phase="initial").to_numpy()[-1]
        count, stages = self.branches[-1], int(self.dataset.attrs["stages"])
        pairs = max(count * (count / stages - 1), 1)
        return float(((total**2).mean() - count) / pairs)

    @property
    def feature_growth(self) -> Growth | None:
        """Exponent in depth of the feature change by the first training step."""
        if "feature_change" not in self.dataset:
            return None
        values = self.dataset["feature_change"].to_numpy()
        return Growth.of_slopes(slopes(values, np.asarray(self.branches, float)))

    @property
    def scanned_beta(self) -> float | None:
        """The extra exponent of the scan at which the change neither grows nor decays."""
        if "scan_change" not in self.dataset:
            return None
        betas = self.dataset["beta"].to_numpy()
        counts = np.asarray(self.branches, float)
        growth = np.array(
            [
                slopes(self.dataset["scan_change"].sel(beta=b).to_numpy(), counts).mean()
                for b in betas
            ]
        )
        # Overflow is growth, however often.
        growth = np.where(np.isnan(growth), np.inf, growth)
        crossings = np.flatnonzero((growth[:-1] > 0) & (growth[1:] <= 0))
        if len(crossings) == 0:
            return None
        i = int(crossings[0])
        share = 0.5 if np.isinf(growth[i]) else growth[i] / (growth[i] - growth[i + 1])
        return float(betas[i] + share * (betas[i + 1] - betas[i]))

    @property
    def recommendation(self) -> Recommendation | None:
        """What to change; None without a verdict."""
        if self.verdict is None:
            return None
        branch = str(self.dataset.attrs.get("branch", "")) or None
        return recommend(
            self.verdict,
            self.critical,
            self.own_beta,
            branch,
            hooked=bool(self.dataset.attrs.get("hooked", 1)),
            factor=stream_factor(self.dataset.sel(phase="initial")),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found and assumed, in sentences."""
        return tuple(json.loads(self.dataset.attrs["notes"]))

    @property
    def regularity(self) -> dict[str, dict[str, float | str]]:
        """Hurst index of the weights across layers, by the pattern of their names."""
        return json.loads(self.dataset.attrs["regularity"])

    def __repr__(self) -> str:
        found = f"depths {self.depths}, {self.branches[-1]} branches at most"
        if self.verdict is None:
            return f"DepthCheck(no verdict: {self.reason}; {found})"
        return f"DepthCheck({self.verdict}: {self.reason}; {found})"
