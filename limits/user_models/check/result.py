"""What a depth check found: numbers in a dataset, and everything that is read off them."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from limits._typing import Regime
from limits.user_models.check.judging.growth import Growth
from limits.user_models.check.judging.judgement import Judgement
from limits.user_models.check.judging.recommendation import Recommendation
from limits.user_models.check.stream_check import StreamCheck
from limits.user_models.check.vocabulary import Direction, Likeness, Phase

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["DepthCheck"]


@dataclass(frozen=True, eq=False, repr=False)
class DepthCheck:
    """The result of `limits.depth_check`: verdicts, exponents and what to change.

    Everything that is asked of it without naming a stream is answered for the worst one,
    `leading`: one that explodes, else one that contracts, else one that explodes while
    normalisation bounds it, else one without a verdict, else the identity, else a limit.

    Parameters
    ----------
    dataset : Dataset
        All numbers, dimensions ``(stream_name, phase, depth, seed)`` and ``layer`` or ``beta``,
        without the first where there is one stream only. Everything else is computed from it, so
        that a stored check is a check.
    """

    dataset: "Dataset"

    def to_dataset(self) -> "Dataset":
        """Return the numbers."""
        return self.dataset

    @classmethod
    def from_dataset(cls, dataset: "Dataset") -> "DepthCheck":
        """Read back what `to_dataset` wrote."""
        return cls(dataset)

    @cached_property
    def streams(self) -> tuple[StreamCheck, ...]:
        """Every residual stream that grows with depth, with its own L, exponents and verdicts."""
        names, stages = (json.loads(self.dataset.attrs[key]) for key in ("streams", "stages"))
        if len(names) == 1:
            return (StreamCheck(names[0], self.dataset, stages[0]),)
        return tuple(
            StreamCheck(name, _only(self.dataset, name), n_stages)
            for name, n_stages in zip(names, stages, strict=True)
        )

    @cached_property
    def leading(self) -> StreamCheck:
        """The stream with the worst verdict, the first of several."""
        return max(self.streams, key=_severity)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """``initial``, and ``trained`` if training steps were made."""
        return self.leading.phases

    @property
    def depths(self) -> tuple[int, ...]:
        """What the factory was called with."""
        return self.leading.depths

    @property
    def branches(self) -> tuple[int, ...]:
        """Number of residual branches L that were found at every depth."""
        return self.leading.branches

    def judged(self, direction: Direction, phase: Phase) -> Judgement:
        """Return what depth does in one direction at one phase."""
        return self.leading.judged(direction, phase)

    @property
    def forward(self) -> Judgement:
        """Hidden states at initialisation."""
        return self.leading.forward

    @property
    def backward(self) -> Judgement:
        """Gradients at initialisation."""
        return self.leading.backward

    @property
    def judgements(self) -> dict[tuple[Direction, Phase], Judgement]:
        """All verdicts by ``(direction, phase)``."""
        return self.leading.judgements

    @property
    def verdict(self) -> Regime | None:
        """The regime at initialisation: explosion if either direction explodes, else forward."""
        return self.leading.verdict

    @property
    def bounded(self) -> bool:
        """Whether an explosion is one of the branches only, in a stream that is normalised."""
        return self.leading.bounded

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, or why there is none; which stream, if of several."""
        of = f"{self.leading.name}: " if len(self.streams) > 1 else ""
        return of + self.leading.reason

    def growth(self, name: str, *, phase: Phase = "initial") -> Growth:
        """Return the exponent in depth of a variable of the dataset."""
        return self.leading.growth(name, phase=phase)

    @property
    def coherence(self) -> Growth:
        """Exponent with which unit updates at one frozen state add up: 1/2, H or 1."""
        return self.leading.coherence

    @property
    def critical(self) -> Growth:
        """Critical exponent beta* = max(coherence, 1/2) of the branches before any scaling."""
        return self.leading.critical

    @property
    def own_beta(self) -> Growth:
        """Exponent beta of the branches as they are, size ~ L^-beta."""
        return self.leading.own_beta

    @property
    def kind(self) -> Likeness | None:
        """The limit at the critical scale: diffusive updates SDE-like, coherent ones ODE-like."""
        return self.leading.kind

    @property
    def cosine(self) -> float:
        """Mean cosine between two updates of the deepest network at one frozen state."""
        return self.leading.cosine

    @property
    def feature_growth(self) -> Growth | None:
        """Exponent in depth of the feature change by the first training step."""
        return self.leading.feature_growth

    @property
    def scanned_beta(self) -> float | None:
        """The extra exponent of the scan at which the change neither grows nor decays."""
        return self.leading.scanned_beta

    @property
    def recommendation(self) -> Recommendation | None:
        """What to change; None without a verdict."""
        return self.advice()

    def advice(
        self, stream: StreamCheck | None = None, *, phase: Phase = "initial"
    ) -> Recommendation | None:
        """Return what to change for one stream, judged by one phase; None without a verdict.

        Parameters
        ----------
        stream : StreamCheck, optional
            The leading one when left out.
        phase : {"initial", "trained"}
            Which verdict and exponents to go by.
        """
        branch = str(self.dataset.attrs.get("branch", "")) or None
        refusal = str(self.dataset.attrs.get("refusal", ""))
        return (stream or self.leading).advice(phase, branch=branch, refusal=refusal)

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
        if len(self.streams) > 1:
            found += " in " + ", ".join(f"{s.name} ({s.branches[-1]})" for s in self.streams)
        if self.verdict is None:
            return f"DepthCheck(no verdict: {self.reason}; {found})"
        return f"DepthCheck({self.verdict}: {self.reason}; {found})"


def _only(dataset: "Dataset", stream: str) -> "Dataset":
    """Return the numbers of one stream, without the places that only longer ones need."""
    found = dataset.sel(stream_name=stream)
    return found.isel(layer=slice(int(found["multiplying"].max()) + 1))


def _severity(stream: StreamCheck) -> int:
    """Order verdicts from the best to the worst."""
    if stream.verdict == "explosion":
        return 3 if stream.bounded else 5
    return {"limit": 0, "identity": 1, None: 2, "contraction": 4}[stream.verdict]
