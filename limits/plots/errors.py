"""Error against depth, with interval, theory and order."""

from typing import Protocol, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from limits.estimates import Order
from limits.exceptions import LimitsError, StoreError
from limits.plots.look import COLUMN, positive, style
from limits.plots.palette import COLOURS, MARKERS

__all__ = ["convergence"]

_LABELS = {
    "strong": r"strong error  $(\mathbb{E}|h_L-H_1|^%s)^{1/%s}$",
    "uniform": r"uniform error  $(\mathbb{E}\,\sup_k|h_k-H_{k/L}|^%s)^{1/%s}$",
    "weak": r"weak error  $|\mathbb{E}\varphi(h_L)-\mathbb{E}\varphi(H_1)|$",
}

_DRAWN = ("error", "depth", "standard_error", "order", "order_low", "order_high")
_MAY_BE_DRAWN = ("closed_form", "expected_order")
_NAMED = 3


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

    Notes
    -----
    A logarithmic axis has no place for an error that is zero, infinite or no number: the line has
    a gap there, and the legend names the depth and the value.

    Raises
    ------
    StoreError
        If the dataset holds no errors by depth, or lacks what is drawn with them.
    LimitsError
        If `ax` is something else than Axes.

    Examples
    --------
    >>> import limits
    >>> study = limits.convergence_study(
    ...     limits.ResNet("tanh"), limits.BrownianPath(4), depths=(4, 8, 16), n_paths=64, seed=0
    ... )
    >>> limits.plots.convergence(study).get_xscale()
    'log'
    """
    dataset = _checked(study)
    if ax is not None and not isinstance(ax, Axes):
        raise LimitsError(
            f"ax must be matplotlib Axes, found {type(ax).__name__}. Of several panels pass one, "
            "for example panels[0]; leave it out for a new figure."
        )
    # What overflows on the way to a logarithmic axis is left out there.
    with style(), np.errstate(all="ignore"):
        axes = plt.subplots(figsize=(COLUMN, 3.0), layout="constrained")[1] if ax is None else ax
        _draw(axes, dataset, name)
    return axes


def _checked(study: object) -> xr.Dataset:
    """Return the dataset of a study if it has all that is drawn."""
    wanted = "Pass a ConvergenceStudy or what its to_dataset() returned."
    if isinstance(study, xr.Dataset):
        dataset = study
    elif isinstance(study, xr.DataArray) or not hasattr(study, "to_dataset"):
        raise StoreError(
            f"errors are drawn with their interval and order, found {type(study).__name__}, which "
            f"has them not. {wanted}"
        )
    else:
        dataset = cast("Convertible", study).to_dataset()
    missing = [name for name in _DRAWN if name not in dataset]
    if missing:
        raise StoreError(
            f"{', '.join(missing)} is missing in a dataset with {sorted(map(str, dataset))}. "
            f"{wanted}"
        )
    dims = dataset["error"].dims
    if dims != ("depth",) or not dataset.sizes["depth"]:
        raise StoreError(
            f"a line has one error per depth, found dimensions {dict(dataset['error'].sizes)}. "
            "Choose one line with dataset.sel(...) or dataset.isel(...)."
        )
    drawn = [*_DRAWN, *(name for name in _MAY_BE_DRAWN if name in dataset)]
    kinds = {name: dataset[name].dtype.kind for name in drawn}
    depths = dataset["depth"].to_numpy()
    if not set(kinds.values()) <= set("iuf") or np.isnan(positive(depths)).any():
        found = {name: str(dataset[name].dtype) for name in drawn}
        raise StoreError(
            f"errors and depths must be real numbers, and depths positive; found {found} at depths "
            f"{depths.tolist()}. {wanted}"
        )
    return dataset


def _draw(axes: Axes, dataset: xr.Dataset, name: str | None) -> None:
    count = sum(1 for line in axes.get_lines() if line.get_gid() == "measured")
    colour, marker = COLOURS[count % len(COLOURS)], MARKERS[count % len(MARKERS)]
    depths = dataset["depth"].to_numpy()
    errors = positive(dataset["error"])
    half = 1.96 * np.abs(dataset["standard_error"].to_numpy())
    if name is None:
        name = f"{dataset.attrs.get('network', 'network')}, width {dataset.attrs.get('width', '?')}"
    # A log axis cannot show a band that reaches zero; it ends at a tenth of the error.
    low, high = positive(np.fmax(errors - half, errors / 10)), positive(errors + half)
    axes.fill_between(depths, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(
        depths,
        errors,
        color=colour,
        marker=marker,
        linestyle="-",
        linewidth=0.9,
        gid="measured",
        label="\n".join([name, _order(dataset), *_left_out(dataset)]),
    )
    _draw_theory(axes, dataset, name)
    _finish(axes, dataset)


def _draw_theory(axes: Axes, dataset: xr.Dataset, name: str) -> None:
    """Draw the exact errors, or the theoretical slope through the deepest network's error."""
    depths, errors = dataset["depth"].to_numpy(), positive(dataset["error"])
    expected = float(dataset.get("expected_order", np.nan))
    shown = np.isfinite(errors)
    if "closed_form" in dataset and np.isfinite(positive(dataset["closed_form"])).all():
        line = positive(dataset["closed_form"])
        label = str(dataset.attrs.get("closed_form_name", f"exact error, {name.split(',')[0]}"))
        dashes = (0, (1.6, 1.2))
    elif np.isfinite(expected) and shown.any():
        anchor = depths[shown][-1]
        line = positive(errors[shown][-1] * (depths / anchor) ** -expected)
        label = _slope_label(expected)
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


def _left_out(dataset: xr.Dataset) -> list[str]:
    """Return a line of the legend that names the errors which the axis cannot show."""
    pairs = zip(dataset["depth"].to_numpy(), dataset["error"].to_numpy(), strict=True)
    hidden = [f"L = {depth:g}: {error:g}" for depth, error in pairs if np.isnan(positive(error))]
    more = f" and {len(hidden) - _NAMED} more" if len(hidden) > _NAMED else ""
    return [f"not shown: {', '.join(hidden[:_NAMED])}{more}"] if hidden else []


def _finish(axes: Axes, dataset: xr.Dataset) -> None:
    axes.set_xscale("log", base=2)
    if np.isnan(_drawn_values(axes)).all():
        axes.set_ylim(0.1, 1)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(dataset["depth"].to_numpy().tolist()))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("depth $L$ (number of residual layers)")
    label = _LABELS.get(str(dataset.attrs.get("error_kind", "strong")), _LABELS["strong"])
    p = dataset.attrs.get("p", 2)
    axes.set_ylabel(label % (p, p) if "%s" in label else label)
    _make_room(axes)
    axes.legend(loc="lower left", handlelength=2.4, labelspacing=0.45)


def _drawn_values(axes: Axes) -> np.ndarray:
    return np.concatenate([positive(line.get_ydata()) for line in axes.get_lines()])


def _make_room(axes: Axes) -> None:
    """Stretch the axis downwards, where falling errors leave a corner for the legend."""
    values = _drawn_values(axes)
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = np.log10(values.min()), np.log10(values.max())
    lines = sum(1 for line in axes.get_lines() if not str(line.get_label()).startswith("_"))
    span = max(high - low, 0.3)
    axes.set_ylim(10 ** (low - span * (0.1 + 0.11 * lines)), 10 ** (high + 0.06 * span))
