"""Errors of mean-field networks: bias and fluctuation apart, and how they depend on the shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from limits.checks import check_choice, check_seed, checked_array
from limits.exceptions import NonFiniteStateError, ShapeError
from limits.scalars import plain_numbers

__all__ = ["ErrorSplit", "ShapeFit", "fit_shape", "split_error"]

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]
Addition = Literal["quadrature", "linear"]
_RESAMPLES = 400


@dataclass(frozen=True)
class ErrorSplit:
    """RMS error of repetitions against a reference in its two parts, each (value, low, high).

    Parameters
    ----------
    bias : tuple of float
        RMS over outputs of the mean error, noise of the mean taken out; zero where it is lost
        in it. With a 95 % bootstrap interval over repetitions.
    fluctuation : tuple of float
        RMS over outputs of the standard deviation over repetitions.
    n_paths : int
        Number of repetitions.
    """

    bias: Interval
    fluctuation: Interval
    n_paths: int


@plain_numbers
@dataclass(frozen=True)
class ShapeFit:
    """The fit error^2 = a^2 D / (L M) + b^2 / L^2, or the sum of the roots.

    Parameters
    ----------
    a, b : tuple of float
        Constants of fluctuation and bias, each (value, low, high) with a 95 % bootstrap
        interval over repetitions.
    kind : {"quadrature", "linear"}
        How the parts are added.
    residual : float
        RMS relative distance of the points to the fit.
    """

    a: Interval
    b: Interval
    kind: Addition
    residual: float

    def predict(self, depth: ArrayLike, hidden_width: ArrayLike, embedding_dim: int) -> Floats:
        """Return the fitted error of a shape."""
        parts = _parts(depth, hidden_width, embedding_dim)
        return _model(np.array([self.a[0], self.b[0]]), parts, self.kind)

    def __str__(self) -> str:
        a, b = (f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in (self.a, self.b))
        return f"a = {a}, b = {b}"


@plain_numbers
def split_error(
    outputs: ArrayLike | Tensor, reference: ArrayLike | Tensor, *, seed: int
) -> ErrorSplit:
    """Split an error into bias and fluctuation.

    Parameters
    ----------
    outputs : array_like
        Of independent repetitions, ``(path, ...)``; at least three.
    reference : array_like
        What they should be, the remaining axes.
    seed : int
        Of the bootstrap.

    Returns
    -------
    ErrorSplit
        Each part with its interval.

    Raises
    ------
    ShapeError
        If shapes disagree or there are fewer than three repetitions.

    Examples
    --------
    >>> noise = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> split = split_error(5 + noise, np.zeros(2), seed=0)
    >>> round(split.fluctuation[0], 3), round(split.bias[0], 3)
    (1.155, 4.967)
    """
    values = checked_array(outputs, "outputs")
    exact = checked_array(reference, "the reference")
    if len(values) < 3 or values.shape[1:] != exact.shape:
        raise ShapeError(
            f"a split needs outputs (path, ...) of at least three repetitions and a reference "
            f"without the path axis, found {values.shape} and {exact.shape}."
        )
    bad = int((~np.isfinite(values)).sum() + (~np.isfinite(exact)).sum())
    if bad:
        raise NonFiniteStateError(
            f"outputs and reference have {bad} NaN or infinite entries, so their difference has "
            "no mean. Leave out repetitions that diverged."
        )
    errors = (values - exact).reshape(len(values), -1)
    gram = errors @ errors.T / errors.shape[1]
    counts = _counts(len(values), seed)
    # The mean of products of different repetitions is the squared bias without noise: a
    # resampled pair must not be a repetition with itself.
    own = counts @ np.diag(gram)
    all_pairs = np.einsum("ri,ij,rj->r", counts, gram, counts)
    same = (counts**2) @ np.diag(gram)
    pairs = len(values) ** 2 - (counts**2).sum(axis=1)
    squared_bias = (all_pairs - same) / pairs
    squared = own / len(values)
    bias = np.sqrt(np.maximum(squared_bias, 0))
    fluctuation = np.sqrt(np.maximum(squared - squared_bias, 0))
    return ErrorSplit(_interval(bias), _interval(fluctuation), len(values))


@plain_numbers
def fit_shape(
    path_errors: ArrayLike | Tensor,
    *,
    depths: Sequence[int],
    hidden_widths: Sequence[int],
    embedding_dim: int,
    seed: int,
    kind: Addition = "quadrature",
) -> ShapeFit:
    """Fit a and b to errors of networks of several shapes, in relative least squares.

    Parameters
    ----------
    path_errors : array_like
        RMS error of every repetition, ``(shape, path)``; repetitions are independent.
    depths, hidden_widths : sequence of int
        L and M of every shape.
    embedding_dim : int
        D.
    seed : int
        Of the bootstrap.
    kind : {"quadrature", "linear"}
        sqrt(a^2 D/(LM) + b^2/L^2), which independent errors obey, or a sqrt(D/(LM)) + b/L.

    Raises
    ------
    ShapeError
        If there are fewer than three shapes or the lengths disagree.
    NonFiniteStateError
        If an error is NaN, infinite, or zero on every repetition.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), whose figures are
    overlaid with the linear form.

    Examples
    --------
    >>> depths, widths = (2, 8, 32, 2), (8, 8, 8, 64)
    >>> exact = np.sqrt(0.09 * 10 / np.multiply(depths, widths) + 0.04 / np.square(depths))
    >>> errors = np.tile(exact[:, None], 3)
    >>> fit = fit_shape(errors, depths=depths, hidden_widths=widths, embedding_dim=10, seed=0)
    >>> print(fit)
    a = 0.300 [0.300, 0.300], b = 0.200 [0.200, 0.200]
    """
    errors = checked_array(path_errors, "path errors of shape (shape, path)")
    if errors.ndim != 2 or len(errors) < 3 or not len(depths) == len(hidden_widths) == len(errors):
        raise ShapeError(
            f"a fit needs errors (shape, path) of at least three shapes, found {errors.shape} "
            f"for {len(depths)} depths and {len(hidden_widths)} hidden widths."
        )
    if not np.isfinite(errors).all() or (errors.max(axis=1) <= 0).any():
        raise NonFiniteStateError(
            "errors must be finite and not all zero at any shape. Leave out shapes that diverged."
        )
    check_choice(kind, "kind", Addition)
    parts = _parts(depths, hidden_widths, embedding_dim)
    squares = errors**2
    best = _fit(np.sqrt(squares.mean(axis=1)), parts, kind, np.log([0.3, 0.2]))
    rng = np.random.default_rng(check_seed(seed))
    n = squares.shape[1]
    resampled = []
    for _ in range(_RESAMPLES):
        # Every shape has repetitions of its own.
        counts = rng.multinomial(n, np.full(n, 1 / n), size=len(squares))
        again = np.sqrt((counts * squares).sum(axis=1) / n)
        resampled.append(np.exp(_fit(again, parts, kind, best)))
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    a, b = np.exp(best)
    measured = np.sqrt(squares.mean(axis=1))
    distance = np.log(_model(np.exp(best), parts, kind) / measured)
    return ShapeFit(
        (float(a), float(low[0]), float(high[0])), (float(b), float(low[1]), float(high[1])),
        kind, float(np.sqrt((distance**2).mean())),
    )  # fmt: skip


def _parts(depth: ArrayLike, hidden_width: ArrayLike, embedding_dim: int) -> tuple[Floats, Floats]:
    layers, neurons = np.asarray(depth, dtype=float), np.asarray(hidden_width, dtype=float)
    return np.sqrt(embedding_dim / (layers * neurons)), 1 / layers + 0 * neurons


def _model(constants: Floats, parts: tuple[Floats, Floats], kind: Addition) -> Floats:
    fluctuation, bias = constants[0] * parts[0], constants[1] * parts[1]
    return np.hypot(fluctuation, bias) if kind == "quadrature" else fluctuation + bias


def _fit(errors: Floats, parts: tuple[Floats, Floats], kind: Addition, start: Floats) -> Floats:
    def distances(logs: Floats) -> Floats:
        return np.log(_model(np.exp(logs), parts, kind)) - np.log(errors)

    import scipy

    return scipy.optimize.least_squares(distances, start, bounds=(-12, 5)).x


def _counts(n: int, seed: int) -> Floats:
    """How often each repetition occurs: once each in the first row, resampled in the others."""
    rng = np.random.default_rng(check_seed(seed))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float)
    # A resample of one repetition alone has no pairs.
    drawn = drawn[(drawn > 0).sum(axis=1) > 1]
    return np.vstack([np.ones(n), drawn])


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)
