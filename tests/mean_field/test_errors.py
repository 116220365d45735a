"""Bias and fluctuation of mean-field networks: recovered where they are known."""

import numpy as np
import pytest

import limits


def test_bias_and_fluctuation_are_recovered_with_intervals_that_cover():
    rng = np.random.default_rng(0)
    inside, widths = np.zeros(2), []
    for trial in range(100):
        outputs = 0.3 + 0.8 * rng.standard_normal((20, 200))
        split = limits.split_error(outputs, np.zeros(200), seed=trial)
        for i, (found, exact) in enumerate(((split.bias, 0.3), (split.fluctuation, 0.8))):
            inside[i] += found[1] <= exact <= found[2]
        widths.append(split.fluctuation[2] - split.fluctuation[1])
        assert abs(split.bias[0] - 0.3) < 0.1
    # 90 to 97 over 8 seeds. Resampling few repetitions is a little too short: of 400 trials 94 and
    # 94 % are inside at twenty repetitions, 94 and 92 % at ten, 94 and 90 % at five.
    assert inside.min() >= 88
    assert np.median(widths) < 0.1


def test_noise_of_the_mean_is_not_taken_for_bias():
    rng = np.random.default_rng(1)
    found = [
        limits.split_error(rng.standard_normal((10, 400)), np.zeros(400), seed=0).bias[0]
        for _ in range(20)
    ]
    # Without the correction every one would be sqrt(1 / 10) = 0.32.
    assert np.median(found) < 0.1


def shapes(a, b, *, n_paths=40, seed=0):
    rng = np.random.default_rng(seed)
    grid = [(depth, width) for depth in (2, 4, 8, 16, 32, 64) for width in (1, 4, 16, 64)]
    depths, widths = np.array(grid).T
    noise = a * np.sqrt(10 / (depths * widths))[:, None, None]
    errors = b / depths[:, None, None] + noise * rng.standard_normal((len(grid), n_paths, 100))
    return np.sqrt((errors**2).mean(axis=2)), depths.tolist(), widths.tolist()


@pytest.mark.thorough
def test_the_fit_in_quadrature_recovers_both_constants_and_the_linear_one_does_not():
    errors, depths, widths = shapes(0.37, 0.25)
    settings = {"depths": depths, "hidden_widths": widths, "embedding_dim": 10, "seed": 0}
    fit = limits.fit_shape(errors, **settings)
    # Over 8 seeds: a within 0.0009, b within 0.0015.
    assert fit.a[0] == pytest.approx(0.37, abs=0.003)
    assert fit.b[0] == pytest.approx(0.25, abs=0.005)
    assert fit.a[1] <= fit.a[0] <= fit.a[2] < fit.a[1] + 0.02
    assert fit.residual < 0.02
    linear = limits.fit_shape(errors, kind="linear", **settings)
    assert linear.b[0] < 0.2
    assert linear.residual > 3 * fit.residual
    predicted = fit.predict(8, 16, 10)
    assert float(predicted) == pytest.approx(np.hypot(0.37 * np.sqrt(10 / 128), 0.25 / 8), rel=0.02)


def test_wrong_requests_say_what_to_do():
    with pytest.raises(limits.ShapeError, match="at least three repetitions"):
        limits.split_error(np.zeros((2, 3)), np.zeros(3), seed=0)
    with pytest.raises(limits.ShapeError, match="at least three shapes"):
        limits.fit_shape(
            np.ones((2, 3)), depths=(1, 2), hidden_widths=(1, 1), embedding_dim=2, seed=0
        )
    settings = {"depths": (1, 2, 3), "hidden_widths": (1, 1, 1), "embedding_dim": 2, "seed": 0}
    with pytest.raises(limits.NonFiniteStateError, match="Leave out shapes"):
        limits.fit_shape(np.full((3, 3), np.nan), **settings)
    with pytest.raises(limits.LimitsError, match="kind must be"):
        limits.fit_shape(np.ones((3, 3)), kind="cubic", **settings)
