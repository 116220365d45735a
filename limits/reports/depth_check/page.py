"""A depth check as one self-contained page for a browser, and as a picture."""

import base64
import html
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from limits.reports.depth_check.facts import (
    branch_rows,
    check_facts,
    depth_rows,
    judgement_rows,
    origin_rows,
    stream_rows,
    to_do,
)
from limits.reports.figures import png_bytes
from limits.user_models import DepthCheck, StreamCheck
from limits.user_models.check.vocabulary import verdict_colour, verdict_words, word_colour

__all__ = ["check_figure", "check_html"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 1.5rem auto;
padding: 0 1rem; color: #1f2328 }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { border: 1px solid #d0d7de; padding: .3rem .6rem;
text-align: left; vertical-align: top } th { background: #f6f8fa }
.wide { overflow-x: auto; margin: 1rem 0 }
.verdict { color: #fff; padding: .6rem 1rem; border-radius: .4rem; font-size: 1.15rem }
.verdict b { font-size: 1.5rem } .word { font-weight: bold }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
gap: 1rem } .pictures img { width: 100%; height: auto }
pre { background: #f6f8fa; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
.notes, .origin { color: #57606a; font-size: .9rem }
"""


def check_figure(check: DepthCheck) -> bytes:
    """Return the page of pictures as PNG."""
    # matplotlib takes a second to import, which a report in a terminal does not need.
    from limits.plots.depth import depth_page

    return png_bytes(depth_page(check))


def check_html(check: DepthCheck, *, title: str = "Depth check", command: str = "") -> bytes:
    """Return one self-contained page: verdict, pictures, tables, what to do.

    Parameters
    ----------
    check : DepthCheck
        What `limits.depth_check` returned.
    title : str
        Of the page.
    command : str
        How it was called, for whoever wants to repeat it.
    """
    leading = check.leading
    several = len(check.streams) > 1
    parts = [f"<h1>{html.escape(title)}</h1>", _banner(check)]
    if several:
        parts.append(_table(stream_rows(check), coloured=3))
    for stream in sorted(check.streams, key=lambda each: each is not leading):
        if several:
            parts.append(f"<h2>Stream {html.escape(stream.name)}</h2>")
        parts += _of_stream(check, stream)
    parts.append("<h2>Branches at the largest depth</h2>" + _table(branch_rows(check)))
    parts += [f'<p class="notes">{html.escape(note)}</p>' for note in check.notes]
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    origin = [("from", "value"), *origin_rows(check, command=command, date=date)]
    parts.append('<h2>Origin</h2><div class="origin">' + _table(iter(origin)) + "</div>")
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    ).encode()


def _banner(check: DepthCheck) -> str:
    """Return the verdict, coloured and in words, with its numbers below."""
    stream = check.leading
    colour = verdict_colour(stream.verdict, bounded=stream.bounded)
    said = verdict_words(stream.verdict, bounded=stream.bounded)
    word, _, meaning = said.partition(": ")
    return (
        f'<p class="verdict" style="background: {colour}"><b>{html.escape(word)}</b>: '
        f"{html.escape(meaning)}</p><p>{html.escape(check.reason)}.</p>"
    )


def _of_stream(check: DepthCheck, stream: StreamCheck) -> Iterator[str]:
    yield _pictures(check, stream)
    yield _table(judgement_rows(stream), coloured=2)
    for label, what, sentences in to_do(check, stream):
        yield f"<h3>{html.escape(label)}</h3><pre>{html.escape(what)}</pre>"
        yield f"<p>{html.escape(' '.join(sentences))}</p>"
    yield "<h3>Measured</h3>"
    yield _table(iter([("what", "value [99 % over seeds]"), *check_facts(check, stream).items()]))
    yield _table(depth_rows(stream))


def _pictures(check: DepthCheck, stream: StreamCheck) -> str:
    """Return the pictures one by one, so that they are readable on a narrow screen too."""
    from limits.plots.depth import depth_panels

    images = []
    for title, figure in depth_panels(stream, check.advice(stream)).items():
        data = base64.b64encode(png_bytes(figure)).decode()
        images.append(f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">')
    return f'<div class="pictures">{"".join(images)}</div>'


def _table(rows: Iterable[tuple[str, ...]], *, coloured: int | None = None) -> str:
    lines = []
    for i, row in enumerate(rows):
        cells = [html.escape(cell) for cell in row]
        if i and coloured is not None:
            cells[coloured] = _word(row[coloured])
        tag = "td" if i else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _word(word: str) -> str:
    """Return a verdict in its colour."""
    return f'<span class="word" style="color: {word_colour(word)}">{html.escape(word)}</span>'
