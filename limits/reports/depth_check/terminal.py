"""A depth check for a terminal: verdict, meaning, tables, what to do."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from limits.reports.depth_check.facts import (
    branch_rows,
    check_facts,
    depth_rows,
    judgement_rows,
    origin_rows,
    stream_rows,
    to_do,
)
from limits.user_models import DepthCheck, StreamCheck
from limits.user_models.check.vocabulary import verdict_colour, verdict_words, word_colour

__all__ = ["check_report"]


def check_report(check: DepthCheck, *, command: str = "") -> Group:
    """Return the report for a terminal: verdict, meaning, tables, what to do.

    Parameters
    ----------
    check : DepthCheck
        What `limits.depth_check` returned.
    command : str
        How it was called, for whoever wants to repeat it.

    Examples
    --------
    >>> import torch, limits
    >>> from rich.console import Console
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
    leading = check.leading
    word = Text(check.verdict or "no verdict", f"bold {_colour(leading)}")
    parts: list[RenderableType] = [Text.assemble(("Verdict: ", "bold"), word)]
    parts += [Text(_meaning(check)), Text()]
    if len(check.streams) > 1:
        parts.append(_table(stream_rows(check), coloured=3))
    for stream in check.streams:
        if len(check.streams) > 1:
            parts.append(Text(f"Stream {stream.name}", "bold"))
        parts.append(_table(judgement_rows(stream), coloured=2))
        facts = (("measured", "value [99 % over seeds]"), *check_facts(check, stream).items())
        parts += [_table(iter(facts)), _table(depth_rows(stream), title="means over seeds")]
        for label, what, sentences in to_do(check, stream):
            parts.append(Text.assemble((f"{label}: ", "bold"), what))
            parts += [Text(f"  {sentence}") for sentence in sentences]
    parts.append(_table(branch_rows(check), title="branches at the largest depth"))
    parts += [Text(f"Note: {note}", "dim") for note in check.notes]
    origin = "; ".join(f"{name} {value}" for name, value in origin_rows(check, command=command))
    parts.append(Text(f"{origin}.", "dim"))
    return Group(*parts)


def _meaning(check: DepthCheck) -> str:
    """Return what the verdict means, without its word."""
    if check.verdict is None:
        return f"The evidence is too thin: {check.reason}."
    said = verdict_words(check.verdict, bounded=check.bounded).partition(": ")[2]
    of = f"Stream {check.leading.name}: " if len(check.streams) > 1 else ""
    return f"{of}{said[0].upper()}{said[1:]} {_first_upper(check.leading.reason)}."


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _colour(stream: StreamCheck) -> str:
    return verdict_colour(stream.verdict, bounded=stream.bounded)


def _table(
    rows: Iterable[tuple[str, ...]], *, title: str = "", coloured: int | None = None
) -> Table:
    header, *body = rows
    table = Table(*header, header_style="bold", title=title or None, title_justify="left")
    for row in body:
        cells = [Text(cell) for cell in row]
        if coloured is not None:
            cells[coloured].stylize(word_colour(row[coloured]))
        table.add_row(*cells)
    return table
