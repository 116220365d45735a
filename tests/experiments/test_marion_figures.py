"""Figures 1-7 of Marion et al.: the laws they are compared with, and checks that can fail."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import quad
from scipy.special import exp1
from scipy.stats import chi2, kstest

import limits
from limits import sweeps
from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import at_smoke_scale, stored

package_of_experiments()
FIGURES = tuple(f"fig{n}" for n in range(1, 8))
figure = {
    name: importlib.import_module(f"{PACKAGE}.marion2025.{name}")
    for name in (*FIGURES, "_held", "_independent", "_published", "_ratios")
}
published, ratios = figure["_published"], figure["_ratios"]


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return {name: stored(f"marion2025.{name}") for name in FIGURES}


def failing(name: str, dataset: xr.Dataset) -> list[str]:
    return [each.claim for each in figure[name].check(dataset) if not each.passed]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["fig1", "fig3"])
def test_a_network_with_another_exponent_is_noticed(name):
    module = figure[name]
    config = replace(module.SCALES["smoke"], betas=(0.9, 0.35, 0.4), laws=("gaussian",))
    wrong = sweeps.run(module, config, seed=0).assign_coords(beta=[1.0, 0.25, 0.5])
    claims = failing(name, wrong)
    assert any("beta = 1: RMS" in claim for claim in claims)
    assert any("beta = 0.5: RMS" in claim for claim in claims)
    assert any("beta = 0.25: mean log" in claim for claim in claims)


def test_a_closed_form_without_its_half_is_noticed(results, monkeypatch):
    linear = limits.closed_forms.linear_second_moment
    monkeypatch.setattr(limits.closed_forms, "relu_second_moment", linear)
    claims = failing("fig1", results["fig1"])
    assert sum("RMS" in claim for claim in claims) == 4


def test_a_law_of_a_layer_of_another_width_is_noticed(results, monkeypatch):
    exact = limits.closed_forms.relu_log_mean
    monkeypatch.setattr(
        limits.closed_forms, "relu_log_mean", lambda depth, width, scale: exact(depth, 3, scale)
    )
    assert any("mean log" in claim for claim in failing("fig1", results["fig1"]))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["fig4", "fig5"])
def test_smooth_weights_at_another_exponent_are_noticed(name):
    module = figure[name]
    config = replace(module.SCALES["smoke"], betas=(1.8, 0.9, 0.8))
    wrong = sweeps.run(module, config, seed=0).assign_coords(beta=[2.0, 0.5, 1.0])
    assert len(failing(name, wrong)) == 3


def test_a_lognormal_law_with_the_constant_of_linear_networks_is_noticed(results, monkeypatch):
    exact = limits.closed_forms.log_norm_law
    monkeypatch.setattr(
        figure["fig2"], "lognormal_at_depth",
        lambda d, depth: (exact("res-1", d).mean / 2, exact("res-1", d).variance ** 0.5 / 2),
    )  # fmt: skip
    assert len(failing("fig2", results["fig2"])) == 4


def test_histograms_are_asked_for_what_samples_of_the_law_itself_keep():
    fig2 = figure["fig2"]
    paper = fig2.SCALES["paper"]
    assert (paper.gaussian_draws, paper.uniform_draws) == (10_000, 10_000)
    assert (paper.width, paper.depth) == (100, 1000)
    # Of the law itself, 400 samples: all but a few of a hundred are within the bound of each.
    rng, most = np.random.default_rng(0), fig2.largest_distance(400)
    found = [kstest(rng.standard_normal(400), "norm").statistic for _ in range(200)]
    assert max(found) < 1.2 * most
    assert sum(each > most for each in found) <= 3
    # At 10^4 draws a mean that is off by a twentieth of the deviation is noticed.
    shifted = rng.standard_normal(10_000) + 0.05
    assert kstest(shifted, "norm").statistic > fig2.largest_distance(10_000)


def test_the_lognormal_law_of_a_depth_is_that_of_its_layers():
    """Layers of width 2 drawn as what they are: gains of independent normals."""
    rng, width, depth, count = np.random.default_rng(1), 2, 60, 100_000
    logs = np.zeros(count)
    for _ in range(depth):
        inner = np.square(np.maximum(rng.standard_normal((count, width)), 0)).sum(axis=1)
        size = np.sqrt(inner / (width**2 * depth))
        along, across = rng.standard_normal(count), rng.chisquare(width - 1, count)
        logs += 0.5 * np.log((1 + size * along) ** 2 + size**2 * across)
    mean, deviation = figure["fig2"].lognormal_at_depth(width, depth)
    assert abs(logs.mean() - mean) < 4 * deviation / count**0.5
    assert logs.std() == pytest.approx(deviation, rel=4 * (2 * count) ** -0.5)
    # The limit itself lacks the order 1/L: 3 to 5 standard errors at 7 of 8 seeds.
    limit = figure["fig2"].lognormal(width)[1]
    assert abs(logs.std() - limit) > 4 * limit * (2 * count) ** -0.5


def test_rough_paths_with_another_index_are_noticed(results):
    wrong = results["fig6"].assign_coords(hurst=[0.21, 0.51, 0.81])
    assert len(failing("fig6", wrong)) == 4


def test_a_generator_that_is_off_by_a_twentieth_is_noticed(results):
    right = results["fig6"]
    wrong = right.assign(variation=right["variation"] * 1.05)
    assert [claim[:6] for claim in failing("fig6", wrong)] == ["E|X_(t"]


@pytest.mark.thorough
def test_a_shifted_border_and_swapped_regimes_are_noticed():
    right = at_smoke_scale(figure["fig7"])
    shifted = right.copy(deep=True)
    shifted["border"][{"statistic": 0}] += 0.1
    assert [claim.partition(":")[0] for claim in failing("fig7", shifted)] == ["border"]
    swapped = right.assign(gradient=-right["gradient"])
    assert len(failing("fig7", swapped)) == 1


def test_a_border_of_few_nets_is_not_decided(results):
    vague = results["fig7"].copy(deep=True)
    vague["border"][{"statistic": 1}] *= 10
    words = {
        verdict.claim.partition(":")[0]: verdict.word for verdict in figure["fig7"].check(vague)
    }
    assert words["border"] == "not decided"


def test_every_cell_of_the_heatmaps_is_a_measurement(results):
    dataset = results["fig7"]
    assert int(dataset["saturated"].sum()) == 0
    assert all(bool(np.isfinite(dataset[name]).all()) for name in ("output", "gradient"))


def test_the_border_of_infinite_depth_is_refused(results, monkeypatch):
    def limit(hurst: float, shallow: int, deep: int) -> float:
        return max(hurst, 0.5)

    assert not any("border" in claim for claim in failing("fig7", results["fig7"]))
    monkeypatch.setattr(limits.closed_forms, "fractional_relu_border", limit)
    assert failing("fig7", results["fig7"])[0].startswith("border")


def test_the_published_grid_is_the_paper_scale():
    paper = figure["fig7"].SCALES["paper"]
    assert (len(paper.hursts), paper.n_betas, paper.n_nets, paper.n_inputs) == (51, 70, 5, 10)
    assert (paper.hursts[0], paper.hursts[-1]) == (0.05, 0.97)
    assert figure["fig7"].betas(paper)[-1] == 1.3
    assert paper.growth_nets >= 24
    assert figure["fig1"].SCALES["paper"].depths == tuple(np.linspace(10, 1000, 10).astype(int))


def literal_noise(normals: np.ndarray, depth: int, hurst: float) -> np.ndarray:
    """The published construction as it is described, complex roots included."""
    r = limits.closed_forms.fractional_autocovariance(np.arange(depth), hurst)
    row = np.concatenate([r, [0.0], r[:0:-1]])
    roots = np.sqrt(np.fft.fft(row).real.astype(complex))
    roots[depth] = roots[0]
    z = np.zeros((len(normals), 2 * depth), dtype=complex)
    z[:, 0], z[:, depth] = normals[:, 0], normals[:, depth]
    pairs = (normals[:, 1:depth] + 1j * normals[:, depth + 1 :]) / math.sqrt(2)
    z[:, 1:depth], z[:, depth + 1 :] = pairs, pairs[:, ::-1].conj()
    return np.fft.fft(roots * z, axis=1).real[:, :depth] / math.sqrt(2 * depth)


@pytest.mark.parametrize(("hurst", "depth"), [(0.3, 16), (0.7, 33), (0.9, 64), (0.97, 20)])
def test_the_published_generator_is_the_described_one(hurst, depth):
    unit = np.eye(2 * depth)
    described = literal_noise(unit, depth, hurst)
    ours = published.noise_from_normals(torch.from_numpy(unit), depth, hurst).numpy()
    np.testing.assert_allclose(ours.T @ ours, described.T @ described, atol=1e-12)
    assert published.variance(depth, hurst) == pytest.approx((ours.T @ ours)[0, 0], rel=1e-12)


def test_the_published_generator_has_variance_one_point_two_three():
    unit = torch.eye(2000, dtype=torch.float64)
    noise = published.noise_from_normals(unit, 1000, 0.9)
    variances = noise.square().sum(dim=0)
    assert variances.min() == pytest.approx(1.226, abs=5e-4)
    assert variances.max() == pytest.approx(1.226, abs=5e-4)
    # The sum over the path keeps the right variance, L^2H, because the excess alternates.
    assert float(noise.sum(dim=1).square().sum()) == pytest.approx(1000**1.8, rel=0.01)
    known = {0.7: 1.011, 0.95: 1.581, 0.97: 1.853}
    for hurst, value in known.items():
        assert published.variance(1000, hurst) == pytest.approx(value, abs=5e-4)


def test_a_network_reads_the_published_noise():
    path = published.PublishedPath(2, hurst=0.9)
    sample = path.sample(depth=20, n_paths=2000, seed=0)
    weights = sample.layer_weights
    assert float(weights.square().mean()) * 2 == pytest.approx(published.variance(20, 0.9), rel=0.1)
    # Depth 20 has an excess large enough to be told from the exact generator.
    assert published.variance(20, 0.9) > 1.3
    exact = limits.FractionalPath(2, hurst=0.9).sample(depth=20, n_paths=2000, seed=0)
    assert sample.tag != exact.tag


def test_both_generators_differ_by_a_term_that_alternates_from_layer_to_layer():
    laws = (published.PublishedPath(2, hurst=0.9), limits.FractionalPath(2, hurst=0.9))
    draws = [law.sample(depth=200, n_paths=100, seed=0).layer_weights for law in laws]
    gap = draws[0] - draws[1]
    assert float((gap[1:] * gap[:-1]).mean()) < -0.8 * float(gap.square().mean())


def test_held_weights_are_the_same_weights_drawn_once():
    settings = {"depth": 9, "n_paths": 20, "seed": 3, "dtype": torch.float32}
    held = figure["_held"].HeldSmoothPath(6).sample(**settings)
    plain = limits.SmoothPath(6).sample(**settings)
    net = limits.ResNet("relu", block="res-3")
    h0 = torch.ones(1, 6)
    out, same = net(h0, held), net(h0, plain)
    assert bool((out.terminal == same.terminal).all())
    assert out.tag == same.tag
    slabs = held.source.slabs
    drawn = {key: slab.data_ptr() for key, slab in slabs.items()}
    cotangent = torch.ones(20, 1, 6)
    p, q = net.backward(out, held, cotangent), net.backward(same, plain, cotangent)
    assert bool((p.values == q.values).all())
    assert {key: slab.data_ptr() for key, slab in slabs.items()} == drawn
    assert len(drawn) > 0


def test_ratios_of_states_that_overflowed_are_those_of_their_logs():
    start = torch.tensor([[[3.0, 4.0]]])
    log_start = torch.tensor([[math.log(5)]])
    far = torch.full((1, 1, 2), math.inf)
    found = ratios.ratios(start, far, log_start, torch.tensor([[500.0]]))
    assert float(found.change) == float(found.growth) == pytest.approx(500 - math.log(5))
    near = torch.tensor([[[3.0, 4.5]]])
    found = ratios.ratios(start, near, log_start, near.norm(dim=-1).log())
    assert float(found.change) == pytest.approx(math.log(0.1))


def chain(n: int, *, depth: int, width: int, scale: float) -> np.ndarray:
    """log(|h_L|^2 / |h_0|^2) from independent chi-squares alone."""
    rng = np.random.default_rng(0)
    total = np.zeros(n)
    for _ in range(depth):
        energy = rng.chisquare(np.maximum(active := rng.binomial(width, 0.5, n), 1)) * (active > 0)
        step = scale * np.sqrt(energy) / width
        along = 1 + step * rng.standard_normal(n)
        total += np.log(along**2 + step**2 * rng.chisquare(width - 1, n))
    return total


@pytest.mark.parametrize(
    ("width", "depth", "scale"),
    [(5, 8, 0.6), pytest.param(40, 16, 0.5, marks=pytest.mark.thorough), (3, 4, 1.5)],
)
def test_mean_log_agrees_with_the_chain_and_with_networks(width, depth, scale):
    exact = float(limits.closed_forms.relu_log_mean(depth, width, scale))
    walk = chain(30_000, depth=depth, width=width, scale=scale)
    assert abs(walk.mean() - exact) < 4 * walk.std() / len(walk) ** 0.5
    sample = limits.BrownianPath(width).sample(depth=depth, n_paths=1000, seed=1)
    net = limits.ResNet("relu", block="res-3", beta=0.0, coefficient=scale)
    h0 = torch.ones(1, width, dtype=torch.float64)
    out = net(h0, sample)
    logs = 2 * (out.log_norm - h0.norm().log())
    assert abs(float(logs.mean()) - exact) < 4 * float(logs.std()) / 1000**0.5


@pytest.mark.parametrize("scale", [0.3, 0.7, 2.0])
def test_mean_log_of_a_layer_of_two_units_is_an_exponential_integral(scale):
    # In the plane E log|e + s xi|^2 = E_1(1 / (2 s^2)); no unit is active with probability 1/4,
    # one with 1/2, two with 1/4.
    def mean(freedom: int) -> float:
        def integrand(energy: float) -> float:
            return exp1(2 / (scale**2 * energy)) * chi2.pdf(energy, freedom)

        return quad(integrand, 0, np.inf, epsabs=1e-13)[0]

    exact = mean(1) / 2 + mean(2) / 4
    found = float(limits.closed_forms.relu_log_mean(1, 2, scale))
    assert found == pytest.approx(exact, rel=1e-9)


def test_mean_log_at_the_critical_exponent_has_the_known_depth_bias():
    depth, width = np.array([500.0, 1000.0, 2000.0]), 40
    exact = limits.closed_forms.relu_log_mean(depth, width)
    first_order = limits.closed_forms.relu_log_mean_depth_bias(depth, width)
    rest = exact - (1 / 2 - 1 / width) - first_order
    # What is left is of second order in 1/L.
    assert rest[:-1] / rest[1:] == pytest.approx([4, 4], rel=0.02)
    assert abs(rest[-1]) < 1e-7


def test_mean_log_takes_arrays_and_never_exceeds_the_log_of_the_mean():
    depths = np.array([10, 100, 1000])
    found = limits.closed_forms.relu_log_mean(depths, 40, depths**-0.25)
    each = [float(limits.closed_forms.relu_log_mean(d, 40, d**-0.25)) for d in (10, 100, 1000)]
    assert found == pytest.approx(each, rel=1e-14)
    bound = np.log(limits.closed_forms.relu_second_moment(depths, depths**-0.25))
    assert (found < bound).all()
    assert (found > bound - 2 * depths**0.5 / 40).all()
