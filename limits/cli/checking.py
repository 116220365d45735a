"""``limits check`` and ``limits check-weights``: verdicts on a user's own network."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.text import Text

from limits.cli.console import output_console, progress_reports
from limits.cli.targets import load_target
from limits.exceptions import LimitsError
from limits.sweeps import write_bytes

__all__ = ["check", "check_weights"]

_Word = Literal["identity", "limit", "explosion", "contraction", "no-verdict"]


def check(
    factory: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(
            metavar="MODULE:FACTORY", help="A function of a depth that returns a torch module."
        ),
    ],
    *,
    depths: Annotated[
        tuple[int, ...], tyro.conf.arg(help="Three or more, over a factor of four.")
    ] = (4, 8, 16, 32),
    inputs: Annotated[
        str | None,
        tyro.conf.arg(
            help="MODULE:NAME of a batch, a DataLoader, or a function that returns one; normal "
            "numbers that fit the first layer by default."
        ),
    ] = None,
    seeds: Annotated[int, tyro.conf.arg(help="Draws of the weights.")] = 5,
    betas: Annotated[
        tuple[float, ...], tyro.conf.arg(help="Extra exponents to try, branches times L^-beta.")
    ] = (),
    branch: Annotated[
        str | None,
        tyro.conf.arg(help="Modules that return the branches, for example 'blocks.*.branch'."),
    ] = None,
    make_step: Annotated[
        str | None,
        tyro.conf.arg(
            help="MODULE:NAME of a function of (model, depth) that returns a function which makes "
            "one training step; the check is repeated afterwards."
        ),
    ] = None,
    steps: Annotated[int, tyro.conf.arg(help="Training steps.")] = 1,
    seed: Annotated[int, tyro.conf.arg(help="Seed of all random numbers.")] = 0,
    fail_on: Annotated[
        tuple[_Word, ...],
        tyro.conf.arg(help="Exit with 1 if a verdict in either direction is one of these."),
    ] = (),
    figure: Annotated[Path | None, tyro.conf.arg(help="Write the page of pictures, PNG.")] = None,
    json: Annotated[Path | None, tyro.conf.arg(help="Write all numbers.")] = None,
    html: Annotated[
        Path | None, tyro.conf.arg(help="Write one self-contained page to send to a colleague.")
    ] = None,
    quiet: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="No progress, for log files.")
    ] = False,
) -> int:
    """Say what depth does to your network: identity, limit, explosion or contraction."""
    from limits.reports.depth_check import check_figure, check_html, check_json, check_report
    from limits.user_models import depth_check

    _check_writable(figure, json, html)
    make_model = _function(factory, "factory")
    batch: Any = None if inputs is None else load_target(inputs, what="inputs")
    if callable(batch):
        batch = batch()
    stepper = None if make_step is None else _function(make_step, "make_step")
    with progress_reports("check", quiet=quiet) as (progress, _):
        found = depth_check(
            make_model,
            depths=depths,
            inputs=batch,
            n_seeds=seeds,
            betas=betas or None,
            branch=branch,
            make_step=stepper,
            steps=steps,
            seed=seed,
            progress=progress,
        )
    # As it was typed, for whoever wants to repeat it.
    command = shlex.join(["limits", *sys.argv[1:]])
    console = output_console()
    console.print(check_report(found, command=command))
    files = (
        (figure, lambda: check_figure(found)),
        (json, lambda: check_json(found)),
        (html, lambda: check_html(found, title=f"Depth check of {factory}", command=command)),
    )
    for path, content in files:
        if path is not None:
            write_bytes(path, content())
            console.print(Text(f"written: {path}"), soft_wrap=True)
    words = {judged.word.replace(" ", "-") for judged in found.judgements.values()}
    bad = sorted(words & set(fail_on))
    if bad:
        console.print(Text(f"failed: {', '.join(bad)} (--fail-on)", "bold red"), soft_wrap=True)
    return 1 if bad else 0


def check_weights(
    files: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE", help=".safetensors or .pt; several depths for exponents."),
    ],
    *,
    pattern: Annotated[
        str,
        tyro.conf.arg(help="Name of the weight, {} for the layer: 'layers.{}.out_proj.weight'."),
    ],
    json: Annotated[Path | None, tyro.conf.arg(help="Write the numbers.")] = None,
) -> int:
    """Say how regular trained weights are across layers, and how they scale with depth."""
    from limits.reports.checkpoints import read_checkpoints

    if not files:
        raise LimitsError("no checkpoint was given. Pass a .safetensors or .pt file.")
    _check_writable(json)
    found = read_checkpoints(files, pattern)
    console = output_console()
    console.print(found.table())
    if json is not None:
        write_bytes(json, found.json())
        console.print(Text(f"written: {json}"), soft_wrap=True)
    return 0


def _check_writable(*paths: Path | None) -> None:
    """Refuse targets that could not be written, before anything is computed."""
    for path in paths:
        if path is None:
            continue
        folder = next(each for each in path.absolute().parents if each.exists())
        target = path if path.exists() else folder
        if path.is_dir() or not folder.is_dir() or not os.access(target, os.W_OK):
            raise LimitsError(
                f"{path} cannot be written: {'it is a folder' if path.is_dir() else 'no access'}. "
                "Name a file in a folder of yours."
            )


def _function(text: str, what: str) -> Callable[..., Any]:
    value = load_target(text, what=what)
    if not callable(value):
        raise LimitsError(
            f"{what} {text!r} is a {type(value).__name__}. Name a function that can be called."
        )
    return value
