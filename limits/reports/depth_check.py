"""A depth check for a terminal, for other programs, and for a colleague's browser."""

import base64
import html
import json
import math
from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from limits.reports.figures import png_bytes
from limits.user_models import DepthCheck, Growth
from limits.user_models.check.judgement import MARGIN
from limits.user_models.check.vocabulary import MEANINGS

__all__ = ["check_facts", "check_figure", "check_html", "check_json", "check_report"]

_BOUNDED = (
    "What the branches add grows with depth without end, while normalisation keeps the stream "
    "bounded: the last layers dominate it and the first are forgotten. Nothing diverges."
)
_COLOURS = {"limit": "green", "identity": "yellow", "contraction": "red", "explosion": "red"}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #ccc;
padding: .3rem .6rem; text-align: left } .verdict { font-size: 1.6rem; font-weight: bold }
img { max-width: 100% } pre { background: #f4f4f4; padding: .6rem; overflow-x: auto }
"""


def check_report(check: DepthCheck) -> Group:
    """Return the report for a terminal: verdict, meaning, tables, what to do.

    Examples
    --------
    >>> from rich.console import Console
    >>> import torch, limits
    >>> class Net(torch.nn.Module):
    ...     def __init__(self, depth):
    ...         super().__init__()
    ...         self.blocks = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(depth))
    ...     def forward(self, h):
    ...         for block in self.blocks:
    ...             h = h + block(h)
    ...         return h
    >>> report = check_report(limits.depth_check(Net, depths=(8, 16, 32), n_seeds=3))
    >>> console = Console(width=90)
    >>> with console.capture() as text:
    ...     console.print(report)
    >>> text.get().splitlines()[0]
    'Verdict: explosion'
    """
    verdict = check.verdict
    word = Text(verdict or "no verdict", f"bold {_COLOURS.get(verdict or '', 'magenta')}")
    meaning = _meaning(check)
    parts: list[Table | Text] = [Text.assemble(("Verdict: ", "bold"), word), Text(meaning), Text()]
    parts += [_judgement_table(check), _fact_table(check), _depth_table(check)]
    advice = check.recommendation
    if advice is not None:
        parts.append(Text.assemble(("What to do: ", "bold"), advice.call))
        parts.append(Text(f"  since {advice.reason}; L counts residual branches."))
        parts.append(
            Text(f"  One step then moves features alike if Adam's rate is {advice.adam}, ")
            + Text(f"SGD's {advice.sgd}.")
        )
    parts += [Text(f"Note: {note}", "dim") for note in check.notes]
    return Group(*parts)


def _meaning(check: DepthCheck) -> str:
    if check.verdict is None:
        return f"The evidence is too thin: {check.reason}."
    return _BOUNDED if check.bounded else str(MEANINGS[check.verdict])


def check_facts(check: DepthCheck) -> dict[str, str]:
    """Return what was measured, as pairs of a name and a sentence with numbers."""
    facts = {
        "margin of a limit": f"exponents within {MARGIN} of zero",
        "growth of states": f"L^{check.forward.growth}",
        "growth of gradients": f"L^{check.backward.growth}",
        "size of branches": f"L^-beta, beta = {check.own_beta}",
        "sum of unit updates": f"L^{check.coherence} ({check.kind or 'unclear'})",
        "cosine between updates": f"{check.cosine:+.3f} on average, at the deepest",
        "critical exponent": f"beta* = {check.critical}",
    }
    if check.scanned_beta is not None:
        facts["scan of exponents"] = f"growth ends at an extra L^-{check.scanned_beta:.2f}"
    if check.feature_growth is not None:
        facts["features after one step"] = f"change by L^{check.feature_growth}"
    for name, found in check.regularity.items():
        facts[f"weights {name}"] = (
            f"H = {found['hurst']:.2f} [{found['low']:.2f}, {found['high']:.2f}] across "
            f"{found['layers']} layers: {found['verdict']}"
        )
    if not check.regularity:
        facts["weights"] = "no regularity: fewer than 16 layers with weights of one shape"
    return facts


def check_json(check: DepthCheck) -> bytes:
    """Return verdicts, exponents, recommendation and all numbers as JSON."""
    advice = check.recommendation
    content = {
        "verdict": check.verdict,
        "reason": check.reason,
        "judgements": [
            {
                "direction": direction,
                "phase": phase,
                "regime": judged.regime,
                "bounded": judged.bounded,
                "growth": _growth(judged.growth),
                "reason": judged.reason,
            }
            for (direction, phase), judged in check.judgements.items()
        ],
        "kind": check.kind,
        "critical_exponent": _growth(check.critical),
        "own_beta": _growth(check.own_beta),
        "coherence": _growth(check.coherence),
        "cosine": check.cosine,
        "feature_growth": _growth(check.feature_growth),
        "scanned_beta": check.scanned_beta,
        "recommendation": None if advice is None else vars(advice),
        "regularity": check.regularity,
        "depths": check.depths,
        "branches": check.branches,
        "notes": check.notes,
        "numbers": check.dataset.to_dict(),
    }
    return (json.dumps(_finite(content), indent=1) + "\n").encode()


def check_figure(check: DepthCheck) -> bytes:
    """Return the page of pictures as PNG."""
    # matplotlib takes a second to import, which a report in a terminal does not need.
    from limits.plots.depth import depth_page

    return png_bytes(depth_page(check))


def check_html(check: DepthCheck, *, title: str = "Depth check") -> bytes:
    """Return one self-contained page: verdict, picture, tables, what to do."""
    verdict = check.verdict
    meaning = _meaning(check)
    picture = base64.b64encode(check_figure(check)).decode()
    advice = check.recommendation
    rows = [("direction", "phase", "verdict", "why")]
    rows += [(d, p, j.word, j.reason) for (d, p), j in check.judgements.items()]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="verdict">{verdict or "no verdict"}</p><p>{html.escape(meaning)}</p>',
        f'<img alt="Depth check: {verdict or "no verdict"}" src="data:image/png;base64,{picture}">',
        _html_table(rows),
    ]
    if advice is not None:
        rule = f"{advice.reason}. L counts residual branches."
        rates = f"Learning rates: Adam {advice.adam}, SGD {advice.sgd}."
        parts.append(f"<h2>What to do</h2><pre>{html.escape(advice.call)}</pre>")
        parts.append(f"<p>{html.escape(rule)} {html.escape(rates)}</p>")
    parts.append(
        "<h2>Measured</h2>" + _html_table([("what", "value"), *check_facts(check).items()])
    )
    parts.append(_html_table(list(_depth_rows(check))))
    parts += [f"<p>{html.escape(note)}</p>" for note in check.notes]
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    ).encode()


def _judgement_table(check: DepthCheck) -> Table:
    table = Table("direction", "phase", "verdict", "why", header_style="bold")
    for (direction, phase), judged in check.judgements.items():
        word = Text(judged.word, _COLOURS.get(judged.word, "magenta"))
        table.add_row(direction, phase, word, Text(judged.reason))
    return table


def _fact_table(check: DepthCheck) -> Table:
    table = Table("measured", "value [99 % over seeds]", header_style="bold")
    for name, value in check_facts(check).items():
        table.add_row(Text(name), Text(value))
    return table


def _depth_rows(check: DepthCheck) -> Iterator[tuple[str, ...]]:
    yield "depth", "branches L", "|sum f| / |h0|", "|hL| / |h0|", "|p0| / |pL|", "|f| / |h|"
    first = check.dataset.isel(phase=0)
    for depth, count in zip(check.depths, check.branches, strict=True):
        at = first.sel(depth=depth)
        values = [
            float(at["change"].mean()),
            _exp(float(at["log_norm"].mean())),
            _exp(float(at["gradient_log_norm"].mean())),
            float(at["update_size"].mean()),
        ]
        yield str(depth), str(count), *(f"{value:.3g}" for value in values)


def _depth_table(check: DepthCheck) -> Table:
    header, *rows = _depth_rows(check)
    table = Table(*header, title="means over seeds", title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*row)
    return table


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


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


def _html_table(rows: list[tuple[str, ...]]) -> str:
    lines = []
    for i, row in enumerate(rows):
        tag = "td" if i else "th"
        cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
