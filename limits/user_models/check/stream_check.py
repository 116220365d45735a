"""What a depth check found of one residual stream."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from limits._typing import Regime
from limits.user_models.check.judging.growth import Growth, slopes
from limits.user_models.check.judging.judgement import (
    Judgement,
    fitted,
    judge,
    kind_of,
    stream_factor,
)
from limits.user_models.check.judging.learning_rates import factor_in_weights
from limits.user_models.check.judging.recommendation import Evidence, Recommendation, recommend
from limits.user_models.check.judging.sizes import predicted_growth, size_slopes
from limits.user_models.check.vocabulary import DIRECTIONS, Direction, Likeness, Phase

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["StreamCheck"]


@dataclass(frozen=True, eq=False, repr=False)
class StreamCheck:
    """One stream of a depth check: verdicts, exponents and what to change.

    Parameters
    ----------
    name : str
        Of the stream.
    dataset : Dataset
        Its numbers, dimensions ``(phase, depth, seed)`` and ``layer`` or ``beta``.
    n_stages : int
        Stretches of it whose states have the same entries.
    """

    name: str
    dataset: "Dataset"
    n_stages: int = 1

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
        """Number of residual branches L of the stream at every depth."""
        return tuple(int(count) for count in self.dataset["branches"].to_numpy())

    @property
    def multiplying(self) -> tuple[int, ...]:
        """Number of those that multiply with depth, which exponents are about."""
        return tuple(int(count) for count in self.dataset["multiplying"].to_numpy())

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

    @cached_property
    def judgements(self) -> dict[tuple[Direction, Phase], Judgement]:
        """All verdicts by ``(direction, phase)``."""
        return {
            (direction, phase): self.judged(direction, phase)
            for phase in self.phases
            for direction in DIRECTIONS
        }

    @property
    def verdict(self) -> Regime | None:
        """The regime at initialisation: explosion if either direction explodes, else forward."""
        return self.verdict_at("initial")

    def verdict_at(self, phase: Phase) -> Regime | None:
        """Return the regime of one phase: explosion if either direction explodes, else forward."""
        forward, backward = (self.judgements[each, phase] for each in DIRECTIONS)
        if forward.regime and backward.regime == "explosion":
            return "explosion"
        return forward.regime

    @property
    def bounded(self) -> bool:
        """Whether an explosion is one of the branches only, in a stream that is normalised."""
        exploding = [each for each in (self.forward, self.backward) if each.regime == "explosion"]
        return bool(exploding) and all(each.bounded for each in exploding)

    @property
    def deciding(self) -> Judgement:
        """The direction that the verdict is read off."""
        if self.verdict == "explosion" != self.forward.regime:
            return self.backward
        return self.forward

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, or why there is none."""
        return self.deciding.reason

    def growth(self, name: str, *, phase: Phase = "initial") -> Growth:
        """Return the exponent in depth of a variable of the dataset."""
        return Growth.of_slopes(self._slopes(name, phase))

    def _slopes(self, name: str, phase: Phase) -> np.ndarray:
        data = fitted(self.dataset)
        values = data[name].sel(phase=phase) if "phase" in data[name].dims else data[name]
        return slopes(values.to_numpy(), data["multiplying"].to_numpy().astype(float))

    @cached_property
    def coherence(self) -> Growth:
        """Exponent with which unit updates at one frozen state add up: 1/2, H or 1."""
        return self.growth("frozen_sum")

    @cached_property
    def critical(self) -> Growth:
        """Critical exponent beta* = max(coherence, 1/2) of the branches before any scaling."""
        # The border applies to the mean: seed by seed it would cut off one side of the noise.
        found = self.coherence
        return Growth(*(max(each, 0.5) for each in (found.value, found.low, found.high)))

    @cached_property
    def own_beta(self) -> Growth:
        """Exponent beta of the branches as they are, size ~ L^-beta."""
        return Growth.of_slopes(-size_slopes(self._initial))

    @property
    def kind(self) -> Likeness | None:
        """The limit at the critical scale: diffusive updates SDE-like, coherent ones ODE-like."""
        return kind_of(self.coherence)

    @property
    def cosine(self) -> float:
        """Mean cosine between two updates of the deepest network at one frozen state."""
        total = self.dataset["frozen_sum"].sel(phase="initial").to_numpy()[-1]
        count = self.multiplying[-1]
        pairs = max(count * (count / self.n_stages - 1), 1)
        return float(((total**2).mean() - count) / pairs)

    @property
    def feature_growth(self) -> Growth | None:
        """Exponent in depth of the feature change by the first training step."""
        return self.growth("feature_change") if "feature_change" in self.dataset else None

    @property
    def scanned_beta(self) -> float | None:
        """The extra exponent of the scan at which the change neither grows nor decays."""
        if "scan_change" not in self.dataset:
            return None
        data = fitted(self.dataset)
        betas, counts = data["beta"].to_numpy(), data["multiplying"].to_numpy().astype(float)
        changes = (data["scan_change"].sel(beta=beta).to_numpy() for beta in betas)
        growth = np.array([slopes(change, counts).mean() for change in changes])
        # Overflow is growth, however often.
        growth = np.where(np.isnan(growth), np.inf, growth)
        crossings = np.flatnonzero((growth[:-1] > 0) & (growth[1:] <= 0))
        if len(crossings) == 0:
            return None
        i = int(crossings[0])
        share = 0.5 if np.isinf(growth[i]) else growth[i] / (growth[i] - growth[i + 1])
        return float(betas[i] + share * (betas[i + 1] - betas[i]))

    def predicted_change(self, power: float) -> np.ndarray:
        """Return what branches would add up to with a factor, to first order in it, by depth.

        That is the sum of all branches at the first state of the stream, times the factor.

        Parameters
        ----------
        power : float
            Exponent of L in the factor.
        """
        data = self.dataset.sel(phase="initial")
        with np.errstate(divide="ignore"):
            logs = np.log((data["frozen_sum"] * data["frozen_size"]).to_numpy())
        return np.asarray(self.multiplying, float) ** power * np.exp(logs.mean(axis=-1))

    def advice(self, phase: Phase, *, branch: str | None, refusal: str) -> Recommendation | None:
        """Return what to change, judged by one phase; None without a verdict.

        Parameters
        ----------
        phase : {"initial", "trained"}
            Which verdict and exponents to go by.
        branch : str or None
            Pattern that the user chose branches by.
        refusal : str
            Why `limits.scale_residuals` refuses the model, empty if it does not.
        """
        regime = self.verdict_at(phase)
        if regime is None:
            return None
        data = fitted(self.dataset.sel(phase=phase))
        evidence = Evidence(
            regime,
            self.critical,
            Growth.of_slopes(-self._slopes("frozen_size", phase)),
            predicted_growth(data),
            weights=factor_in_weights(self._initial).value,
            branch=branch,
            refusal=refusal,
            factor=stream_factor(data),
            features=self.feature_growth,
        )
        return recommend(evidence)

    @property
    def _initial(self) -> "Dataset":
        return fitted(self.dataset.sel(phase="initial"))

    def __repr__(self) -> str:
        return f"StreamCheck({self.name}: {self.verdict or 'no verdict'}: {self.reason})"
