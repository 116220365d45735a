"""Figures of Chizat (2025): checks that can fail, and the problem that they share."""

import importlib

import numpy as np
import pytest
import scipy
import torch
import xarray as xr

import limits
from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
FIGURES = ("alpha", "orders", "output_error", "reference")
figure = {name: importlib.import_module(f"{PACKAGE}.chizat2025.{name}") for name in FIGURES}
problem = importlib.import_module(f"{PACKAGE}.chizat2025._problem")
expansion = importlib.import_module(f"{PACKAGE}.chizat2025._expansion")


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return {name: stored(f"chizat2025.{name}") for name in FIGURES}


def failing(name: str, dataset: xr.Dataset) -> list[str]:
    return [each.claim for each in figure[name].check(dataset) if each.failed]


def test_orders_other_than_a_half_and_one_are_noticed(results):
    right = results["orders"]
    assert failing("orders", right) == []
    steeper = right.assign(square=right["square"] * right["depth"] ** -0.4)
    claims = failing("orders", steeper)
    assert "k = 0: variance of outputs on its exact value at every shape" in claims
    assert {f"k = {k}: order of the fluctuation in L" for k in (1, 10)} <= set(claims)
    assert not any("fluctuation in M" in claim for claim in claims)
    wider = right.assign(square=right["square"] * right["hidden_width"] ** 0.4)
    assert {f"k = {k}: order of the fluctuation in M" for k in (1, 10)} <= set(
        failing("orders", wider)
    )
    flatter = right.assign(bias=right["bias"] * right["depth"] ** 0.4)
    assert {"k = 10: order of the bias in L"} <= set(failing("orders", flatter))


def test_a_bias_that_no_width_changes_has_no_term_in_it(results):
    right = results["orders"]
    same = right.assign(bias=xr.zeros_like(right["bias"]) + right["bias"].sel(hidden_width=32))
    named = {each.claim: each for each in figure["orders"].check(same)}
    terms = [each for claim, each in named.items() if "term c D/(LM)" in claim]
    assert len(terms) == 3
    assert not any(each.passed for each in terms)
    assert all(each.passed for each in figure["orders"].check(right) if "term c" in each.claim)


def test_few_neurons_decide_no_order():
    # Noise alone, no matter how it falls.
    rng = np.random.default_rng(0)
    depths, widths = [8, 16, 32], [4, 8, 16]
    noise = rng.standard_normal((3, 3, 1, 8, 20))
    made = xr.Dataset(
        {"bias": (("depth", "hidden_width", "step", "group", "output"), noise)},
        coords={"depth": depths, "hidden_width": widths, "step": [10]},
        attrs={"width": 10},
    )
    verdict = figure["orders"].of_bias(made, 10, "L")
    assert verdict.word == "not decided", verdict


def measured(error: xr.DataArray, n_paths: int = 10) -> xr.Dataset:
    """Return a dataset of output_error's with these errors and the spread of true repetitions."""
    rng = np.random.default_rng(0)

    def noise() -> xr.DataArray:
        drawn = np.exp(0.05 * rng.standard_normal((*error.shape, n_paths)))
        return xr.DataArray(drawn, dims=(*error.dims, "path"))

    spread = noise()
    fresh = xr.concat(
        [(factor * error * noise()).isel(step=0, drop=True) for factor in (1.0, 0.9, 1.1)],
        dim=xr.DataArray([1, 2, 3], dims="draw", name="draw"),
    ).rename(hidden_width="fresh_width")
    attrs = {"width": 10, "n_paths": n_paths, "data": "published"}
    return xr.Dataset({"error": error * spread, "fresh_error": fresh}, attrs=attrs)


def parts(depths: tuple[int, ...], widths: tuple[int, ...]) -> tuple[xr.DataArray, xr.DataArray]:
    """Return fluctuation and bias of all shapes."""
    depth = xr.DataArray(list(depths), dims="depth", coords={"depth": list(depths)})
    width = xr.DataArray(list(widths), dims="hidden_width", coords={"hidden_width": list(widths)})
    step = xr.DataArray([1.0], dims="step", coords={"step": [10]})
    return 0.3 * step * np.sqrt(10 / (depth * width)), step * 0.25 / depth


@pytest.mark.thorough
def test_errors_that_add_linearly_are_noticed():
    module = figure["output_error"]
    a, b = parts(module.GRID, module.GRID)
    assert failing("output_error", measured(np.hypot(a, b))) == []
    claims = failing("output_error", measured(a + b))
    assert len(claims) == 2
    assert all("quadrature" in claim for claim in claims)


def test_errors_other_than_the_published_are_noticed():
    module = figure["output_error"]
    a, _ = parts(module.GRID, module.GRID)
    error = a.assign_coords(step=[100]) * np.nan
    for table, turned in ((module.PUBLISHED_DEPTH, False), (module.PUBLISHED_WIDTH, True)):
        for fixed, points in table.items():
            for along, point in zip(module.GRID[1:], points, strict=True):
                depth, width = (fixed, along) if turned else (along, fixed)
                error.loc[{"depth": depth, "hidden_width": width}] = point
    right, known = measured(error), {"known": True}
    verdict = module.of_points(module.published_points(right), **known)
    assert verdict.passed, verdict
    for factor in (0.9, 1.1):
        wrong = right.assign(error=right["error"] * factor)
        assert module.of_points(module.published_points(wrong), **known).failed
    # The right median, but every second point off by a fifth.
    turned = 1.2 ** (-(xr.ones_like(error["depth"]) * np.arange(len(error["depth"])) % 2 * 2 - 1))
    wrong = right.assign(error=right["error"] * turned)
    assert module.of_points(module.published_points(wrong), **known).failed
    unknown = module.of_points(module.published_points(right), known=False)
    assert unknown.word == "not decided"


def test_a_network_that_is_not_at_its_limit_is_noticed(results):
    right = results["reference"]
    away = right.assign(gap=3 * right["gap"], apart=10 * right["apart"])
    assert len(failing("reference", away)) == 3
    nearer = right.assign(gap=right["gap"] / 3)
    assert failing("reference", nearer)[0] == "distance of the network to the limit"


def test_another_loss_of_the_limit_is_noticed(results):
    right = results["reference"]
    (verdict,) = (each for each in figure["reference"].check(right) if "loss" in each.claim)
    assert not verdict.failed
    wrong = right.assign(loss=right["loss"] * 1.05)
    assert any("loss" in claim for claim in failing("reference", wrong))


def test_the_published_data_have_the_published_loss():
    x, y = problem.data(10)
    assert x.shape == y.shape == (10, 10)
    assert float((x - y).square().mean()) == pytest.approx(1.5179, abs=1e-4)
    fresh = problem.data(10, draw=0)
    assert not torch.equal(fresh[0], x)


# Published k counts from 1, before the first step: read off as 1.52, .55, .14 and .035, of which
# the second and third are 4 and 9 % below what both programs compute.
LOSSES = {1: 1.518, 10: 0.573, 50: 0.152, 100: 0.0349}


@pytest.mark.slow
def test_the_limit_of_the_published_data_has_the_published_losses():
    # 1024 particles leave 0.5 to 1.2 %.
    x, y = problem.data(10)
    solver = limits.ParticleTransport(particles=8192, nodes=6, tolerance=1e-5)
    losses = solver.solve(limits.MeanODE(10), x, y, steps=99, seed=0).losses
    found = [float(losses[k - 1]) for k in LOSSES]
    assert found == pytest.approx(list(LOSSES.values()), rel=0.005)


def losses_by_midpoints(
    x: np.ndarray, y: np.ndarray, *, layers: int, steps: int, particles: int
) -> list[float]:
    """Train the Mean ODE without the library: implicit midpoints in s, SciPy's Sobol points in u.

    Every layer has a scrambled set of its own; v is drawn from the other coordinates and mirrored.
    """
    n, width = x.shape
    u, v = np.empty((2, layers, width, 2 * particles))
    for layer in range(layers):
        points = scipy.stats.qmc.Sobol(2 * width, seed=layer).random(particles)
        normals = np.sqrt(width) * scipy.stats.norm.ppf(np.clip(points, 1e-12, 1 - 1e-12)).T
        u[layer] = np.tile(normals[:width], 2)
        v[layer] = np.concatenate([normals[width:], -normals[width:]], axis=1)
    middle = np.repeat(x[None], layers, axis=0)
    pulled = np.zeros_like(middle)
    losses = []
    for _ in range(steps + 1):
        h = x
        for layer in range(layers):
            slope = np.zeros_like(h)
            for _ in range(3):
                middle[layer] = h + slope / 2 / layers
                slope = np.tanh(middle[layer] @ u[layer] / width) @ v[layer].T / (2 * particles)
            h = h + slope / layers
        losses.append(float(np.mean((h - y) ** 2)))
        b = (h - y) / (n * width)
        for layer in reversed(range(layers)):
            derivative = 1 - np.tanh(middle[layer] @ u[layer] / width) ** 2
            slope = np.zeros_like(b)
            for _ in range(3):
                pulled[layer] = b + slope / 2 / layers
                weighed = derivative * (pulled[layer] @ v[layer])
                slope = weighed @ u[layer].T / (2 * particles * width)
            b = b + slope / layers
        for layer in range(layers):
            s = np.tanh(middle[layer] @ u[layer] / width)
            weighed = (1 - s**2) * (pulled[layer] @ v[layer])
            u[layer] -= middle[layer].T @ weighed
            v[layer] -= width * pulled[layer].T @ s
    return losses


@pytest.mark.slow
def test_another_program_finds_the_same_losses():
    x, y = (each.numpy() for each in problem.data(10))
    losses = losses_by_midpoints(x, y, layers=12, steps=99, particles=4096)
    *early, last = LOSSES
    assert [losses[k - 1] for k in early] == pytest.approx([LOSSES[k] for k in early], rel=0.005)
    # At k = 100 midpoints converge slowly: .0357 with half of the particles, and .0353 with that
    # half at twice the layers. Two and a half minutes on one core as it is.
    assert losses[last - 1] == pytest.approx(LOSSES[last], rel=0.02)


def test_the_first_losses_of_another_program_are_those_of_the_limit():
    x, y = problem.data(10)
    solver = limits.ParticleTransport(particles=512, nodes=4, replicates=4, tolerance=1e-5)
    ours = solver.solve(limits.MeanODE(10), x, y, steps=3, seed=0).losses
    theirs = losses_by_midpoints(x.numpy(), y.numpy(), layers=6, steps=3, particles=256)
    # Both have few particles: spread over eight seeds of the solver 0.2 %.
    assert theirs == pytest.approx(ours.tolist(), rel=0.01)


def test_another_formula_and_other_exponents_of_alpha_are_noticed(results):
    right = results["alpha"]
    wrong = failing("alpha", right.assign(variance=3 * right["variance"]))
    assert sum("published formula" in claim for claim in wrong) == 3
    wrong = failing("alpha", right.assign(change=right["change"] / right["alpha"] ** 0.7))
    assert sum("alpha small" in claim for claim in wrong) == 3
    wrong = failing("alpha", right.assign(change=right["change"] * right["alpha"] ** 0.7))
    assert sum("alpha large" in claim for claim in wrong) == 3
    # One draw in eight that is off by a factor does not hide behind the others.
    one = xr.where(right["draw"] == 3, 30.0, 1.0)
    words = [
        each.word for each in figure["alpha"].check(right.assign(variance=one * right["variance"]))
    ]
    assert "pass" not in words[:3]


def test_the_variance_at_the_start_is_that_of_networks():
    # Groups of 2^12 networks of eight neurons: spread of the ratio over eight seeds 0.4 %.
    net = limits.MeanFieldResNet(10, 4, depth=8)
    x, _ = problem.data(10)
    out = net(x, net.sample(n_paths=2**13, seed=0)).terminal
    exact = expansion.variance_at_start(10, np.array([8.0]), np.array([4.0]))
    assert float(out.var(dim=0).mean()) == pytest.approx(float(exact[0]), rel=0.02)
    leading = (
        10 / 32 * float(expansion.variance_at_start(10, np.array([1.0]), np.array([1e9]))[0]) * 1e8
    )
    # The growth of the states is seen: without it the value is 5 % lower.
    assert float(exact[0]) > 1.02 * leading


def test_all_published_points_are_compared_once():
    module = figure["output_error"]
    config = module.SCALES["laptop"]
    assert set(module.GRID) == set(config.depths) == set(config.hidden_widths)
    a, b = parts(module.GRID, module.GRID)
    points = module.published_points(measured(np.hypot(a, b).assign_coords(step=[100])))
    assert points.sizes["point"] == 42
    by_shape = points.set_index(point=["depth", "hidden_width"])["published"]
    assert float(by_shape.sel(point=(3, 1))) == 0.682
    assert float(by_shape.sel(point=(316, 316))) == 0.00319


@pytest.mark.slow
def test_outputs_after_ten_steps_are_known_to_one_in_ten_thousand():
    # 50 s on one core.
    x, y = problem.data(10)
    solver = limits.ParticleTransport(particles=2**18, nodes=4, replicates=16, tolerance=1e-4)
    solution = solver.solve(limits.MeanODE(10), x, y, steps=10, seed=0)
    assert float(solution.standard_errors[0] + solution.depth_errors[0]) < 1e-4
