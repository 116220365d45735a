"""A depth check as numbers and words for other programs."""

import json
import math
from typing import Any

from limits.reports.depth_check.facts import branch_rows, origin_rows
from limits.user_models import DepthCheck, Growth, Judgement, StreamCheck

__all__ = ["check_json"]


def check_json(check: DepthCheck) -> bytes:
    """Return verdicts, exponents, recommendation and all numbers as JSON.

    What is beside `streams` is that of the stream with the worst verdict.
    """
    header, *branches = branch_rows(check)
    content = {
        "verdict": check.verdict,
        "reason": check.reason,
        **_of_stream(check, check.leading),
        "streams": [
            {"name": stream.name, "verdict": stream.verdict, **_of_stream(check, stream)}
            for stream in check.streams
        ],
        "branch_groups": [dict(zip(header, row, strict=True)) for row in branches],
        "regularity": check.regularity,
        "depths": check.depths,
        "notes": check.notes,
        "origin": dict(origin_rows(check)),
        "numbers": check.dataset.to_dict(),
    }
    return (json.dumps(_finite(content), indent=1) + "\n").encode()


def _of_stream(check: DepthCheck, stream: StreamCheck) -> dict[str, Any]:
    advice = check.advice(stream)
    return {
        "judgements": [
            {"phase": phase, **_judgement(judged)}
            for (_, phase), judged in stream.judgements.items()
        ],
        "kind": stream.kind,
        "critical_exponent": _growth(stream.critical),
        "own_beta": _growth(stream.own_beta),
        "coherence": _growth(stream.coherence),
        "cosine": stream.cosine,
        "feature_growth": _growth(stream.feature_growth),
        "scanned_beta": stream.scanned_beta,
        "recommendation": None if advice is None else vars(advice),
        "branches": stream.branches,
        "multiplying": stream.multiplying,
    }


def _judgement(judged: Judgement) -> dict[str, Any]:
    return vars(judged) | {"growth": _growth(judged.growth)}


def _growth(growth: Growth | None) -> dict[str, float] | None:
    return None if growth is None else vars(growth)


def _finite(value: object) -> object:
    """Replace what JSON has no numbers for by words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
