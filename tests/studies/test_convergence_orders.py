"""What the project exists for: networks approach their limits at the orders that theory gives."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import limits
from tests.helpers import normal_inputs

TANH = limits.ResNet("tanh")
LINEAR = limits.ResNet("identity")
LADDER = (8, 16, 32, 64, 128, 256)


def unit_input(width: int) -> Tensor:
    return torch.ones(1, width, dtype=torch.float64) / math.sqrt(width)


def in_standard_errors(samples: NDArray[np.float64], exact: NDArray[np.float64]) -> NDArray:
    """Return how far the mean of every row is from its exact value."""
    spread = samples.std(axis=1, ddof=1) / math.sqrt(samples.shape[1])
    return (samples.mean(axis=1) - exact) / spread


# --- against closed forms ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "n_paths"),
    [
        # Over eight seeds the largest of the seven distances lay in [0.7, 2.9], [0.6, 2.2] and
        # [0.6, 2.4]. Depths share their paths, so the seven are strongly correlated.
        pytest.param(1, 400_000, marks=pytest.mark.slow),
        pytest.param(8, 4000, marks=pytest.mark.thorough),
        pytest.param(40, 1000, marks=pytest.mark.thorough),
        pytest.param(40, 4000, marks=pytest.mark.slow),
    ],
)
def test_nested_linear_networks_have_the_exact_strong_error(width: int, n_paths: int) -> None:
    study = limits.convergence_study(
        LINEAR,
        limits.BrownianPath(width),
        depths=(4, 8, 16, 32, 64, 128, 256),
        n_paths=n_paths,
        seed=0,
        h0=unit_input(width),
        reference=512,
    )
    exact = limits.closed_forms.linear_nested_strong_error(np.array(study.depths), 512) ** 2
    assert np.abs(in_standard_errors(study.path_errors**2, exact)).max() < 4
    assert study.closed_form is not None
    assert np.allclose(study.closed_form**2, exact, rtol=1e-12)


@pytest.mark.thorough
def test_linear_networks_of_width_one_have_the_exact_error_against_the_exact_solution() -> None:
    study = limits.convergence_study(
        LINEAR,
        limits.BrownianPath(1),
        depths=(4, 8, 16, 32, 64, 128, 256),
        n_paths=100_000,
        seed=0,
        h0=unit_input(1),
    )
    assert study.reference == "closed form"
    exact = math.e - (1 + 1 / np.array(study.depths)) ** np.array(study.depths)
    # Over eight seeds the largest of the seven distances lay in [0.9, 1.9].
    assert np.abs(in_standard_errors(study.path_errors**2, exact)).max() < 4
    # The exact errors have slope 0.478 on these depths. Over eight seeds the order lay in
    # [0.469, 0.491] and the interval was at most 0.045 wide.
    slope = -np.polyfit(np.log(study.depths), np.log(exact) / 2, 1)[0]
    assert study.order.agrees_with(slope, margin=0.01)
    assert study.expected_order == 0.5


@pytest.mark.thorough
def test_the_weak_error_of_the_linear_network_is_exact() -> None:
    # E|h_L|^2 = (1 + 1/L)^L at every width, against e in the limit.
    study = limits.convergence_study(
        LINEAR,
        limits.BrownianPath(8),
        depths=(1, 2, 4, 8, 16),
        n_paths=20_000,
        seed=0,
        h0=unit_input(8),
        error="weak",
        functional=lambda h: h.square().sum(dim=-1),
        reference=math.e,
    )
    depths = np.array(study.depths)
    exact = math.e - (1 + 1 / depths) ** depths
    # Signed differences are E|h_L|^2 - e. Over eight seeds the largest of the five distances lay
    # in [0.5, 1.9].
    assert np.abs(in_standard_errors(study.path_errors, -exact)).max() < 4
    for estimate, error in zip(study.errors, exact, strict=True):
        assert abs(estimate.value - error) < 4 * estimate.standard_error
    assert study.expected_order == 1.0


@pytest.mark.thorough
def test_the_weak_error_of_res_3_is_exact_for_weights_that_are_not_gaussian() -> None:
    # E|h_L|^2 = (1 + 1/(2L))^L; weights at a coarser depth are sums of uniforms, centred and of
    # the same variance, which is all that the recursion needs.
    study = limits.convergence_study(
        limits.ResNet("relu", block="res-3"),
        limits.IIDPath(8),
        depths=(1, 2, 4, 8),
        n_paths=20_000,
        seed=0,
        h0=unit_input(8),
        error="weak",
        functional=lambda h: h.square().sum(dim=-1),
        reference=math.exp(0.5),
    )
    depths = np.array(study.depths)
    exact = math.exp(0.5) - (1 + 1 / (2 * depths)) ** depths
    # Over eight seeds the largest of the four distances lay in [0.7, 1.8].
    assert np.abs(in_standard_errors(study.path_errors, -exact)).max() < 4


# --- orders ------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "n_paths"), [(8, 512), (40, 64)])
def test_a_network_of_independent_weights_converges_at_order_one_half(
    width: int, n_paths: int
) -> None:
    # The reference is the same network sixteen times as deep as the deepest. Over eight seeds the
    # order lay in [0.491, 0.513] at width 8 and in [0.489, 0.514] at width 40, and the interval
    # was at most 0.025 and 0.030 wide.
    study = limits.convergence_study(
        TANH, limits.BrownianPath(width), depths=LADDER, n_paths=n_paths, seed=0
    )
    assert study.reference == "same path, L = 4096"
    assert study.expected_order == 0.5
    assert study.order.agrees_with(0.5)


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "n_paths"), [(8, 64), (40, 32)])
def test_a_network_of_smooth_weights_converges_at_order_one(width: int, n_paths: int) -> None:
    # Over eight seeds the order lay in [1.001, 1.010] at width 8 and in [1.002, 1.007] at width
    # 40, and the interval was at most 0.013 and 0.008 wide.
    study = limits.convergence_study(
        TANH, limits.SmoothPath(width), depths=LADDER, n_paths=n_paths, seed=0
    )
    assert study.reference == "MidpointExtrapolation"
    assert study.expected_order == 1.0
    assert study.order.agrees_with(1.0)


@pytest.mark.thorough
@pytest.mark.parametrize("kernel", ["rbf-derivative", "matern-5/2"])
def test_the_other_smooth_kernels_give_order_one_as_well(
    kernel: Literal["rbf-derivative", "matern-5/2"],
) -> None:
    # Over eight seeds the order lay in [0.997, 1.002] and [0.995, 1.001], the interval was at most
    # 0.011 wide.
    path = limits.SmoothPath(4, kernel=kernel, length_scale=0.3)
    study = limits.convergence_study(
        TANH, path, depths=LADDER, n_paths=64, seed=0, reference=limits.TorchDiffEq()
    )
    assert study.order.agrees_with(1.0)


@pytest.mark.thorough
@pytest.mark.parametrize("p", [1, 2])
def test_the_error_uniform_in_time_has_order_one_for_smooth_weights(p: int) -> None:
    # Over eight seeds the order lay in [0.993, 1.003] for p = 1 and for p = 2, the interval was at
    # most 0.016 wide.
    study = limits.convergence_study(
        TANH, limits.SmoothPath(8), depths=LADDER[:5], n_paths=32, seed=0, error="uniform", p=p
    )
    assert study.order.agrees_with(1.0)


@pytest.mark.thorough
def test_the_error_uniform_in_time_has_order_one_half_for_independent_weights() -> None:
    # The maximum runs over the layers of the shallower network, of which there are more with
    # depth: the order is slightly below 1/2. Over eight seeds it lay in [0.474, 0.500], the
    # interval was at most 0.031 wide.
    study = limits.convergence_study(
        TANH, limits.BrownianPath(8), depths=LADDER, n_paths=256, seed=1, error="uniform"
    )
    assert study.order.agrees_with(0.5)


@pytest.mark.thorough
def test_gradients_of_smooth_networks_converge_at_order_one() -> None:
    # p_0 of the network against p_0 of one 16 times as deep, on the same path.
    path, h0 = limits.SmoothPath(4, length_scale=0.5), normal_inputs(1, 4)
    depths = (8, 16, 32, 64)
    sample = path.sample(depth=1024, n_paths=64, seed=0)
    cotangent = normal_inputs(64, 1, 4, seed=1)

    def gradient(depth: int) -> Tensor:
        reading = sample.at_depth(depth)
        out = TANH(h0, reading, keep="all")
        return TANH.backward(out, reading, cotangent).values[0]

    deep = gradient(1024)
    errors = torch.stack([(gradient(depth) - deep).norm(dim=-1)[:, 0] for depth in depths])
    order = limits.fit_order(errors, depths=depths, seed=0)
    # Over eight seeds the order lay in [0.994, 1.025], the interval was at most 0.050 wide.
    assert order.agrees_with(1.0)


def test_res_3_on_independent_weights_does_not_converge_path_by_path() -> None:
    # Why the library refuses the question: relu(W h) points in a fresh direction at every layer.
    # E|h_L - h_2L|^2 stays near 0.35 from depth 4 to depth 64 (0.34 to 0.37 at width 40).
    net = limits.ResNet("relu", block="res-3")
    sample = limits.BrownianPath(16).sample(depth=128, n_paths=512, seed=0)
    out = {depth: net(unit_input(16), sample.at_depth(depth)) for depth in (4, 8, 64, 128)}
    early = limits.strong_error(out[4], out[8]).value
    late = limits.strong_error(out[64], out[128]).value
    # Over eight seeds the ratio lay in [0.996, 1.060] and the square in [0.347, 0.368].
    assert 0.8 < late / early < 1.25
    assert 0.25 < late**2 < 0.5
