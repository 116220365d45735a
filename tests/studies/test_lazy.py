"""All depths in one pass over a lazy draw: exact covariances, and the law of networks."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

import limits
from limits.networks import propagate
from limits.paths import ladder_answers
from limits.randomness import Stream
from tests.helpers import normal_inputs, standard_errors_from, unit_normals

LINEAR, RELU = limits.ResNet("identity"), limits.ResNet("relu")
WIDTH = 3


def once(path: limits.BrownianPath, **settings) -> limits.WeightSample:
    """Return a lazy draw that remembers nothing, as studies use them."""
    sample = path.sample(seed=0, lazy=True, **settings)
    assert sample.lazy is not None
    return dataclasses.replace(sample, lazy=sample.lazy.for_one_call())


def questions(depths: tuple[int, ...], finest: int, n_inputs: int) -> dict[tuple[int, int], Tensor]:
    """Return a vector for every layer of every depth: new, nearly that of another, or equal."""
    vectors = {}
    for depth in depths:
        for index in range(depth):
            fresh = normal_inputs(n_inputs, WIDTH, seed=1000 * depth + index)
            shallower = vectors.get((depths[0], index * depths[0] // depth), fresh)
            share = (1.0, 1e-3, 1e-9, 1e-14, 0.0)[(depth + index) % 5]
            vectors[depth, index] = shallower + share * (fresh - shallower)
    return vectors


@pytest.mark.parametrize("n_inputs", [1, 2])
@pytest.mark.parametrize(
    ("finest", "depths"),
    [
        (4, (4,)),
        (4, (2, 4)),
        (8, (1, 2, 4, 8)),
        (16, (1, 2, 4, 16)),
        (16, (1, 2, 4, 8, 16)),
        (12, (2, 3, 6, 12)),
        (12, (4, 6)),
        (12, (1, 2, 3)),
        (24, (1, 2, 4, 12, 24)),
    ],
)
def test_answers_to_all_depths_have_the_covariance_of_one_gaussian_path(finest, depths, n_inputs):
    vectors = questions(depths, finest, n_inputs)
    answers: dict[tuple[int, int], Tensor] = {}
    following = dict.fromkeys(depths, 0)
    with unit_normals(Stream):
        path = limits.BrownianPath(WIDTH)
        sample = once(path, depth=finest, n_paths=1024)
        exponents = torch.zeros(1024, n_inputs, dtype=torch.int32)

        def question(depth: int) -> tuple[Tensor, Tensor]:
            vector = vectors[depth, following[depth]]
            following[depth] += 1
            return vector.expand(1024, n_inputs, WIDTH).contiguous(), exponents

        for answer in ladder_answers(sample, depths, question, n_inputs=n_inputs):
            answers[answer.depth, answer.index] = answer.product
    assert set(answers) == set(vectors)
    unit = torch.eye(WIDTH, dtype=torch.float64) / (WIDTH * finest)
    names = list(answers)
    flat = torch.cat([answers[name].flatten(1) for name in names], dim=1)
    found = (flat.mT @ flat).unflatten(0, (len(names), -1)).unflatten(2, (len(names), -1))
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            pairs = overlap(one, other, finest) * (vectors[one] @ vectors[other].mT)
            assert float((found[i, :, j] - torch.kron(pairs, unit)).abs().max()) < 1e-11


def overlap(one: tuple[int, int], other: tuple[int, int], finest: int) -> int:
    """Return how many finest layers two layers have in common."""
    (a, i), (b, j) = one, other
    start = max(i * finest // a, j * finest // b)
    stop = min((i + 1) * finest // a, (j + 1) * finest // b)
    return max(0, stop - start)


def study(net: limits.ResNet = RELU, width: int = 6, **changes) -> limits.ConvergenceStudy:
    settings = {"depths": (4, 8, 16), "reference": 32, "n_paths": 50, "seed": 0, "lazy": True}
    return limits.convergence_study(net, limits.BrownianPath(width), **(settings | changes))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("error", ["strong", "uniform"])
def test_no_bit_of_a_lazy_study_depends_on_chunks_or_threads(error, dtype):
    torch.set_num_threads(1)
    expected = study(error=error, dtype=dtype).path_errors
    for chunk, threads in ((16, 2), (32, 1), (None, 2)):
        torch.set_num_threads(threads)
        found = study(error=error, dtype=dtype, chunk=chunk).path_errors
        assert np.array_equal(found, expected)
    few = study(error=error, dtype=dtype, n_paths=20).path_errors
    assert np.array_equal(few, expected[:, :20])


@pytest.mark.thorough
def test_rescaling_at_different_times_changes_nothing_but_rounding(monkeypatch):
    plain = study(depths=(32, 64, 128), reference=256, n_paths=32).path_errors
    monkeypatch.setattr(propagate, "rescaling_period", lambda *_: 5)
    rescaled = study(depths=(32, 64, 128), reference=256, n_paths=32).path_errors
    assert np.allclose(rescaled, plain, rtol=1e-9)


def test_single_and_double_precision_measure_the_same_lazy_errors():
    single, double = (study(dtype=dtype).path_errors for dtype in (torch.float32, torch.float64))
    assert np.allclose(single, double, rtol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("width", "n_paths"), [pytest.param(8, 2000, marks=pytest.mark.thorough), (40, 1000)]
)
def test_coupled_lazy_networks_have_the_exact_strong_error(width, n_paths):
    # E|h_L - h_L'|^2 = (1 + 1/L')^L' - (1 + 1/L)^L. Over eight seeds the largest of the six
    # distances lay in [0.7, 2.8] and [0.8, 2.6], the relative errors were below 0.028 and 0.013.
    depths = (4, 8, 16, 32, 64, 128)
    h0 = torch.ones(1, width, dtype=torch.float64) / math.sqrt(width)
    result = study(LINEAR, width, depths=depths, reference=256, n_paths=n_paths, h0=h0)
    exact = limits.closed_forms.linear_nested_strong_error(np.array(depths), 256) ** 2
    distances = [
        standard_errors_from(row**2, value)
        for row, value in zip(result.path_errors, exact, strict=True)
    ]
    assert max(map(abs, distances)) < 4
    # Narrow enough to tell a missing or doubled layer.
    relative = (result.path_errors**2).std(axis=1) / math.sqrt(n_paths) / exact
    assert relative.max() < 0.05


def coupled_norms(width: int, *, lazy: bool, seed: int) -> dict[str, Tensor]:
    """Return norms and distances of two coupled networks, one number a path."""
    sample = limits.BrownianPath(width).sample(depth=64, n_paths=1500, seed=seed, lazy=lazy)
    h0 = torch.ones(1, width, dtype=torch.float64) / math.sqrt(width)
    deep, shallow = LINEAR(h0, sample).terminal[:, 0], LINEAR(h0, sample.at_depth(8)).terminal[:, 0]
    return {
        "norm": deep.norm(dim=-1),
        "distance": (deep - shallow).norm(dim=-1),
        "product": (deep * shallow).sum(dim=-1),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("width", [8, 40])
def test_lazy_and_dense_draws_have_the_same_law(width):
    lazy = coupled_norms(width, lazy=True, seed=0)
    dense = coupled_norms(width, lazy=False, seed=1)
    for name, values in lazy.items():
        # Over eight pairs of seeds the smallest of 24 p-values was 0.076 (d = 8), 0.063 (d = 40).
        assert ks_2samp(values.numpy(), dense[name].numpy()).pvalue > 0.01
    # E<h_L, h_L'> = E|h_L|^2 = (1 + 1/L)^L for L | L'; over eight seeds at most 2.4.
    for values in (lazy, dense):
        assert abs(standard_errors_from(values["product"], (1 + 1 / 8) ** 8)) < 4
        assert abs(standard_errors_from(values["norm"] ** 2, (1 + 1 / 64) ** 64)) < 4


def norm(h: Tensor) -> Tensor:
    return h.norm(dim=-1)


EULER = limits.EulerMaruyama(steps=32)
WEAK = {"error": "weak", "functional": norm}


@pytest.mark.parametrize(
    ("net", "changes"),
    [
        (limits.ResNet("tanh"), {}),
        (limits.ResNet("tanh"), {"error": "uniform"}),
        (limits.ResNet("tanh"), WEAK),
        (limits.ResNet("relu", block="res-3"), WEAK),
        (limits.ResNet("tanh", block="res-2"), WEAK),
        (limits.ResNet("tanh"), {"reference": EULER, "depths": (4, 8, 32)}),
        (limits.ResNet("tanh", beta=1.5), {"reference": None}),
    ],
    ids=["strong", "uniform", "weak", "res-3", "res-2", "solver", "identity"],
)  # fmt: skip
def test_lazy_studies_of_every_kind_agree_with_dense_ones_in_law(
    net: limits.ResNet, changes: dict[str, Callable]
):
    lazy, dense = (study(net, n_paths=600, lazy=lazy, **changes) for lazy in (True, False))
    assert lazy.reference == dense.reference
    for one, other in zip(lazy.errors, dense.errors, strict=True):
        # Over eight seeds the largest distance of all these cases was 2.5.
        spread = math.hypot(one.standard_error, other.standard_error)
        assert abs(one.value - other.value) <= 4 * spread + 1e-12


def test_the_last_network_equals_the_solver_that_is_it():
    result = study(limits.ResNet("tanh"), depths=(4, 8, 32), reference=EULER)
    assert result.errors[-1].value < 1e-12
    assert result.errors[0].value > 0.1


@pytest.mark.thorough
def test_a_lazy_study_measures_order_one_half():
    # Over eight seeds the order lay in [0.503, 0.523], its interval was at most 0.024 wide.
    result = study(
        limits.ResNet("tanh"), 20, depths=(8, 16, 32, 64, 128), reference=1024, n_paths=256
    )
    assert result.order.agrees_with(0.5)


def test_lazy_studies_refuse_laws_that_have_no_lazy_draws():
    with pytest.raises(limits.LimitsError, match="Use BrownianPath, or leave out lazy=True"):
        limits.convergence_study(
            RELU, limits.SmoothPath(4), depths=(4, 8, 16), n_paths=16, seed=0, lazy=True
        )


def test_a_lazy_study_against_the_closed_form_says_that_it_needs_increments():
    with pytest.raises(limits.LimitsError, match="Draw with lazy=False"):
        study(LINEAR, 1, reference=None)


@pytest.mark.slow
def test_a_million_layers_fit():
    sample = limits.BrownianPath(40).sample(depth=10**6, n_paths=100, seed=0, lazy=True)
    assert sample.serves_once
    h0 = torch.ones(1, 40, dtype=torch.float64) / math.sqrt(40)
    out = LINEAR(h0, sample)
    # log(|H_1|^2 / |H_0|^2) ~ Normal(1 - 2/d, 4/d), up to 1 / L.
    assert abs(standard_errors_from(2 * out.log_norm[:, 0], 1 - 2 / 40)) < 4
