"""Points read off the published plots beside ours."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

import limits
from limits.experiments.chizat2025._judging import student_quantile
from limits.experiments.chizat2025._published import GRID, PUBLISHED_DEPTH, PUBLISHED_WIDTH
from limits.plots import COLOURS, DASHED

# Repetitions behind a published point, and the error of reading it off.
REPETITIONS, READING = 5, 0.02
# Of 42 points 40 are expected inside 95 % intervals: true reproductions have 38 in 93 % of runs.
INSIDE, MEDIAN = 38 / 42, 0.05


def published_points(dataset: xr.Dataset) -> xr.Dataset:
    """Compare with every digitised point of a computed shape, those in both plots once.

    Its value and ours, the standard deviation of the log of their ratio, that of five repetitions
    and of ours from the spread of ours, and the half width of the 95 % interval of that log:
    Student's, since the spread is that of some repetitions, and the reading error beside it.
    """
    seen = {
        (depth, width): point
        for table, turned in ((PUBLISHED_DEPTH, False), (PUBLISHED_WIDTH, True))
        for fixed, points in table.items()
        for along, point in zip(GRID[1:], points, strict=True)
        for depth, width in [(fixed, along) if turned else (along, fixed)]
    }
    there = [
        shape
        for shape in seen
        if shape[0] in dataset["depth"] and shape[1] in dataset["hidden_width"]
    ]
    errors = dataset["error"].sel(step=100).transpose("depth", "hidden_width", "path")
    rows = np.stack([errors.sel(depth=d, hidden_width=m).to_numpy() for d, m in there])
    squares, n = rows.astype(float) ** 2, rows.shape[1]
    spread = squares.std(axis=1, ddof=1) / squares.mean(axis=1) / 2
    noise = spread * np.sqrt(1 / REPETITIONS + 1 / n)
    return xr.Dataset(
        {
            "published": ("point", [seen[shape] for shape in there]),
            "ours": ("point", np.sqrt(squares.mean(axis=1))),
            "noise": ("point", noise),
            "half": ("point", student_quantile(n, 0.95) * noise + READING),
        },
        coords={
            "depth": ("point", [shape[0] for shape in there]),
            "hidden_width": ("point", [shape[1] for shape in there]),
        },
    )


def of_points(points: xr.Dataset, *, known: bool) -> limits.Verdict:
    """Judge how many published points lie where five repetitions of ours would.

    Numbers from another X and Y decide nothing.
    """
    logs, n = np.log(points["ours"] / points["published"]).to_numpy(), points.sizes["point"]
    within = int((np.abs(logs) <= points["half"].to_numpy()).sum())
    strictly = int((np.abs(logs) <= points["noise"].to_numpy() + READING).sum())
    median, asked = float(np.exp(np.median(logs))), int(np.ceil(INSIDE * n))
    return limits.Verdict(
        "published points at k = 100, from the published X and Y",
        f"{asked} and more of {n} in the 95 % interval of {REPETITIONS} repetitions beside ours, "
        f"with {READING:.0%} of reading; median ratio in [0.95, 1.05]",
        f"{within} of {n} ({strictly} within one standard deviation and the reading); "
        f"median ratio {median:.3f}" + ("" if known else "; from another X and Y"),
        bool(known and within >= asked and abs(median - 1) <= MEDIAN),
        decided=known,
    )


def draw_ratios(ax: Axes, points: xr.Dataset) -> None:
    """Draw ours over the published value, from the narrowest interval to the widest."""
    order = np.argsort(points["half"].to_numpy())
    logs = np.log(points["ours"] / points["published"]).to_numpy()[order]
    half, rank = points["half"].to_numpy()[order], np.arange(1, len(order) + 1)
    ax.fill_between(rank, np.exp(-half), np.exp(half), color="0.85", linewidth=0,
                    label="95 % of a true one")  # fmt: skip
    ax.plot(rank, np.exp(logs), "o", color=COLOURS[0], markersize=3, label="a point")
    ax.axhline(1, **DASHED)
    ax.set(xlabel="points, by their noise", title="ours / published", ylim=(0.4, 1.9))
    ax.legend(loc="upper left")
