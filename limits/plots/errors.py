"""Error against depth, with interval, theory and order."""

from typing import Protocol

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from limits.estimates import Order
from limits.exceptions import StoreError
from limits.plots.look import COLUMN, style
from limits.plots.palette import COLOURS, MARKERS

__all__ = ["convergence"]

_LABELS = {
    "strong": r"strong error  $(\mathbb{E}|h_L-H_1|^%d)^{1/%d}$",
    "uniform": r"uniform error  $(\mathbb{E}\,\sup_k|h_k-H_{k/L}|^%d)^{1/%d}$",
    "weak": r"weak error  $|\mathbb{E}\varphi(h_L)-\mathbb{E}\varphi(H_1)|$",
}


class Convertible(Protocol):
    """Anything that turns into a Dataset, such as a `ConvergenceStudy`."""

    def to_dataset(self) -> xr.Dataset:
        """Return the Dataset."""
        ...


def convergence(
    study: xr.Dataset | Convertible,
    *,
    ax: Axes | None = None,
    name: str | None = None,
) -> Axes:
    """Draw measured errors with 95 % band, the theory line dashed and the order in the legend.

    Call it again with the same `ax` for another line; colour and marker move on.

    Parameters
    ----------
    study : Dataset or ConvergenceStudy
        What ``study.to_dataset()`` returns, or the study itself.
    ax : matplotlib Axes, optional
        Where to draw; a new figure of column width when left out.
    name : str, optional
        What the legend calls the line; the network and width when left out.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    StoreError
        If the dataset holds no errors by depth.

    Examples
    --------
    >>> import limits
    >>> study = limits.convergence_study(
    ...     limits.ResNet("tanh"), limits.BrownianPath(4), depths=(4, 8, 16), n_paths=64, seed=0
    ... )
    >>> limits.plots.convergence(study).get_xscale()
    'log'
    """
    dataset = study if isinstance(study, xr.Dataset) else study.to_dataset()
    if "error" not in dataset or "depth" not in dataset["error"].dims:
        raise StoreError(
            f"there is no error by depth to draw in a dataset with {sorted(map(str, dataset))}. "
            "Pass a ConvergenceStudy or what its to_dataset() returned."
        )
    with style():
        axes = plt.subplots(figsize=(COLUMN, 3.0), layout="constrained")[1] if ax is None else ax
        _draw(axes, dataset, name)
    return axes


def _draw(axes: Axes, dataset: xr.Dataset, name: str | None) -> None:
    count = sum(1 for line in axes.get_lines() if line.get_gid() == "measured")
    colour, marker = COLOURS[count % len(COLOURS)], MARKERS[count % len(MARKERS)]
    depths = dataset["depth"].to_numpy()
    errors = dataset["error"].to_numpy()
    half = 1.96 * dataset["standard_error"].to_numpy()
    if name is None:
        name = f"{dataset.attrs.get('network', 'network')}, width {dataset.attrs.get('width', '?')}"
    # A log axis cannot show a band that reaches zero; it ends at a tenth of the error.
    low = np.maximum(errors - half, errors / 10)
    axes.fill_between(depths, low, errors + half, color=colour, alpha=0.25, linewidth=0)
    axes.plot(
        depths,
        errors,
        color=colour,
        marker=marker,
        linestyle="-",
        linewidth=0.9,
        gid="measured",
        label=f"{name}\n{_order(dataset)}",
    )
    _draw_theory(axes, dataset, name)
    _finish(axes, dataset)


def _draw_theory(axes: Axes, dataset: xr.Dataset, name: str) -> None:
    """Draw the exact errors, or the theoretical slope through the deepest network's error."""
    depths, errors = dataset["depth"].to_numpy(), dataset["error"].to_numpy()
    expected = float(dataset.get("expected_order", np.nan))
    if "closed_form" in dataset and np.isfinite(dataset["closed_form"]).all():
        line = dataset["closed_form"].to_numpy()
        label = str(dataset.attrs.get("closed_form_name", f"exact error, {name.split(',')[0]}"))
        dashes = (0, (1.6, 1.2))
    elif np.isfinite(expected):
        line, label = errors[-1] * (depths / depths[-1]) ** -expected, _slope_label(expected)
        dashes = (0, (4, 2))
    else:
        return
    known = [each.get_label() for each in axes.get_lines()]
    axes.plot(
        depths,
        line,
        color="black",
        linestyle=dashes,
        linewidth=1.1,
        zorder=3,
        label="_" if label in known else label,
    )


def _slope_label(order: float) -> str:
    power = "-1/2" if order == 0.5 else f"-{order:g}"
    return rf"theory: slope of $L^{{{power}}}$"


def _order(dataset: xr.Dataset) -> str:
    value, low, high = (float(dataset[key]) for key in ("order", "order_low", "order_high"))
    depths = tuple(int(depth) for depth in dataset["depth"].to_numpy())
    return str(Order(value, low, high, float("nan"), depths))


def _finish(axes: Axes, dataset: xr.Dataset) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(dataset["depth"].to_numpy().tolist()))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("depth $L$ (number of residual layers)")
    label = _LABELS.get(str(dataset.attrs.get("error_kind", "strong")), _LABELS["strong"])
    p = int(dataset.attrs.get("p", 2))
    axes.set_ylabel(label % (p, p) if "%d" in label else label)
    _make_room(axes)
    axes.legend(loc="lower left", handlelength=2.4, labelspacing=0.45)


def _make_room(axes: Axes) -> None:
    """Stretch the axis downwards, where falling errors leave a corner for the legend."""
    values = np.concatenate(
        [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    )
    low, high = np.log10(values[values > 0].min()), np.log10(values.max())
    lines = sum(1 for line in axes.get_lines() if not str(line.get_label()).startswith("_"))
    span = max(high - low, 0.3)
    axes.set_ylim(10 ** (low - span * (0.1 + 0.11 * lines)), 10 ** (high + 0.06 * span))
