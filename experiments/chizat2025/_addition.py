"""How the two errors of a network add."""

import numpy as np
import xarray as xr


def cross_term(dataset: xr.Dataset, step: int, shallowest: int) -> tuple[float, float]:
    """Return rho of error^2 = A^2 + 2 rho A B + B^2 and its standard error.

    A = a sqrt(D/(LM)), B = b/L. Rho is 0 where errors add in quadrature, 1 where they add. The
    fit has the next term, D/(L^2 M), and only shapes of D/(LM) <= 1/4, where later ones are small.
    """
    width = dataset.attrs["width"]
    errors = dataset["error"].sel(step=step)
    part = errors.stack(shape=("depth", "hidden_width"))
    small = width / (part["depth"] * part["hidden_width"]) <= 1 / 4
    part = part.isel(shape=np.flatnonzero(small & (part["depth"] >= shallowest)))
    squares = part.transpose("shape", "path").to_numpy().astype(float) ** 2
    size = width / (part["depth"] * part["hidden_width"]).to_numpy()
    inverse = 1 / part["depth"].to_numpy()
    mean, n = squares.mean(axis=1), squares.shape[1]
    design = np.stack([size, np.sqrt(size) * inverse, inverse**2, size * inverse], axis=1)
    design = design / mean[:, None]
    found = np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0]
    # Relative variance of a mean: of the repetitions, or what the fit leaves if that is more.
    noise = ((squares.std(axis=1, ddof=1) / mean) ** 2).mean() / n
    left = ((design @ found - 1) ** 2).sum() / max(len(design) - 4, 1)
    covariance = np.linalg.inv(design.T @ design) * max(noise, left)
    product = 2 * np.sqrt(max(found[0], 0) * max(found[2], 0))
    if product == 0:
        return np.nan, np.nan
    rho = found[1] / product
    slope = rho * np.array([-0.5 / found[0], 1 / found[1], -0.5 / found[2], 0.0])
    return float(rho), float(np.sqrt(slope @ covariance @ slope))
