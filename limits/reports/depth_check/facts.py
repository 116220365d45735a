"""What a report on a depth check says, before it has a form: names, numbers and sentences."""

import math
from collections.abc import Iterator

import numpy as np

from limits.user_models import DepthCheck, StreamCheck
from limits.user_models.check.branch_groups import branch_groups
from limits.user_models.check.judging.growth import MARGIN

__all__ = [
    "branch_rows", "check_facts", "depth_rows", "judgement_rows", "origin_rows", "stream_rows",
    "to_do",
]  # fmt: skip

_Rows = Iterator[tuple[str, ...]]


def check_facts(check: DepthCheck, stream: StreamCheck | None = None) -> dict[str, str]:
    """Return what was measured on a stream, as pairs of a name and a sentence with numbers.

    Parameters
    ----------
    check : DepthCheck
        The whole check.
    stream : StreamCheck, optional
        One of its streams, the leading one when left out.
    """
    found = stream or check.leading
    facts = {
        "margin of a limit": f"exponents within {MARGIN} of zero",
        "growth of states": found.forward.law,
        "growth of gradients": found.backward.law,
        "growth matters from": _matters(found),
        "size of branches": f"L^-beta, beta = {found.own_beta}",
        "sum of unit updates": f"L^{found.coherence} ({found.kind or 'unclear'})",
        "cosine between updates": f"{found.cosine:+.3f} on average, at the deepest",
        "critical exponent": f"beta* = {found.critical}",
    }
    if found.scanned_beta is not None:
        facts["scan of exponents"] = f"growth ends at an extra L^-{found.scanned_beta:.2f}"
    if found.feature_growth is not None:
        facts["features after one step"] = f"change by L^{found.feature_growth}"
    for name, of in check.regularity.items():
        facts[f"weights {name}"] = (
            f"H = {of['hurst']:.2f} [{of['low']:.2f}, {of['high']:.2f}] across "
            f"{of['layers']} layers: {of['verdict']}"
        )
    if not check.regularity:
        facts["weights"] = "no regularity: fewer than 16 layers with weights of one shape"
    return facts


def _matters(stream: StreamCheck) -> str:
    """Say from which number of branches on what they add equals the stream."""
    judged = stream.deciding
    if judged.per_branch is not None:
        return f"a factor of ten every {math.log(10) / judged.per_branch:.3g} branches"
    if judged.matters_at is None:
        return "no depth: it does not grow"
    if judged.matters_at <= stream.multiplying[0]:
        return "the smallest depth already: what the branches add exceeds the stream there"
    return f"L = {judged.matters_at:.3g} branches, where what they add equals the stream"


def stream_rows(check: DepthCheck) -> _Rows:
    """Yield a row a stream: name, L at every depth, verdict and law in each direction."""
    yield "stream", "branches L", "that multiply", "verdict", "states", "gradients"
    for stream in check.streams:
        yield (
            stream.name,
            ", ".join(map(str, stream.branches)),
            ", ".join(map(str, stream.multiplying)),
            (stream.verdict or "no verdict") + (" (bounded)" if stream.bounded else ""),
            stream.forward.law,
            stream.backward.law,
        )


def branch_rows(check: DepthCheck) -> _Rows:
    """Yield a row a kind of branch: its stream, name, what it is, number and size."""
    yield "stream", "branch", "kind", "number", "|f| / |h|", "|f| / |h0|, frozen"
    for stream in check.streams:
        for group in branch_groups(check, stream):
            yield (
                stream.name,
                group.name or "no module",
                group.kind,
                str(group.count),
                f"{group.size:.3g}",
                f"{group.frozen_size:.3g}",
            )


def judgement_rows(stream: StreamCheck) -> _Rows:
    """Yield a row a direction and phase: verdict and why."""
    yield "direction", "phase", "verdict", "why"
    for (direction, phase), judged in stream.judgements.items():
        word = judged.word + (" (bounded)" if judged.bounded else "")
        yield direction, phase, word, judged.reason


def depth_rows(stream: StreamCheck) -> _Rows:
    """Yield a row a depth: number of branches, and means over seeds of what was measured."""
    yield "depth", "branches L", "|sum f| / |h0|", "|hL| / |h0|", "|p0| / |pL|", "|f| / |h|"
    first = stream.dataset.isel(phase=0)
    for depth, count in zip(stream.depths, stream.multiplying, strict=True):
        at = first.sel(depth=depth)
        values = [
            float(at["change"].mean()),
            _exp(float(at["log_norm"].mean())),
            _exp(float(at["gradient_log_norm"].mean())),
            float(at["update_size"].mean()),
        ]
        yield str(depth), str(count), *(f"{value:.3g}" for value in values)


def to_do(check: DepthCheck, stream: StreamCheck) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield, for each phase, what to do about a stream: a label, a call or rule, sentences."""
    for phase in stream.phases:
        advice = check.advice(stream, phase=phase)
        label = f"What to do ({phase})" if len(stream.phases) > 1 else "What to do"
        if advice is None:
            why = stream.judged("forward", phase).reason
            yield label, "no advice", (f"the evidence is too thin: {why}.",)
            continue
        sentences = [f"{advice.reason}; L counts residual branches."]
        if advice.power and phase == "initial":
            before = float(np.exp(np.log(stream.dataset["change"].isel(phase=0, depth=-1)).mean()))
            after = stream.predicted_change(advice.power)
            sentences.append(
                f"With it, what the branches add is predicted to be {after[0]:.2g} times the "
                f"stream at the smallest depth and {after[-1]:.2g} times at the largest, where it "
                f"is {before:.2g} times now."
            )
        sentences.append(
            f"One step then moves features alike if Adam's rate is {advice.adam}, "
            f"SGD's {advice.sgd}."
        )
        if advice.step is not None:
            sentences.append(f"Measured: {advice.step}.")
        yield label, advice.call, tuple(sentences)


def origin_rows(
    check: DepthCheck, *, command: str = "", date: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield where the numbers come from: versions, seeds, size of the models, command, date."""
    attributes = check.dataset.attrs
    parameters = [f"{int(n):,}" for n in check.dataset["parameters"].to_numpy()]
    yield "made by", str(attributes.get("versions", "unknown versions"))
    yield "command", command or str(attributes.get("command", "limits.depth_check"))
    yield "seeds", f"{check.dataset.sizes['seed']} draws of the weights, seed {attributes['seed']}"
    yield "depths", ", ".join(map(str, check.depths))
    yield "parameters", ", ".join(parameters)
    if attributes["steps"]:
        yield "training steps", str(attributes["steps"])
    if date:
        yield "date", date


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
