"""The limit in law dH = Sigma(H)^(1/2) dB: its covariance, its root and its moments."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

import limits
from limits.equations.isotropic import isotropic_of, root
from limits.equations.kernels import arc_cosine
from tests.helpers import normal_inputs, relative_difference


def products(*vectors: Tensor) -> Tensor:
    stacked = torch.stack(vectors)
    return stacked @ stacked.mT


# --- the root ----------------------------------------------------------------------------------

SINGULAR: dict[str, Callable[[], Tensor]] = {
    "one input": lambda: normal_inputs(1, 5),
    "two inputs": lambda: normal_inputs(2, 5),
    "four inputs": lambda: normal_inputs(4, 5),
    "the same input three times": lambda: normal_inputs(1, 5).expand(3, -1),
    "parallel inputs": lambda: normal_inputs(1, 5) * torch.tensor([[1.0], [-2.0], [0.5]]).double(),
    "a zero input first": lambda: torch.cat([torch.zeros(1, 5).double(), normal_inputs(2, 5)]),
    "a zero input between": lambda: torch.cat(
        [normal_inputs(1, 5), torch.zeros(1, 5).double(), normal_inputs(1, 5, seed=1)]
    ),
    "all zero": lambda: torch.zeros(3, 5).double(),
    "more inputs than dimensions": lambda: normal_inputs(6, 2),
    "inputs of very different size": lambda: (
        normal_inputs(3, 5) * torch.tensor([[1e-6], [1.0], [1e6]]).double()
    ),
    "a repeated input after another": lambda: normal_inputs(2, 5)[[0, 1, 0]],
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SINGULAR)
def test_the_root_times_its_transpose_is_the_matrix_singular_ones_included(
    name: str, dtype: torch.dtype
) -> None:
    inputs = SINGULAR[name]()
    matrix = (inputs @ inputs.mT)[None].to(dtype)
    factor = root(matrix)
    assert bool(torch.isfinite(factor).all())
    assert torch.equal(factor, factor.tril())
    # Entry (a, b) is of the size of |a| |b|; where that is zero the entry is exactly zero.
    sizes = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = sizes[..., :, None] * sizes[..., None, :]
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert bool(((factor @ factor.mT - matrix).abs() <= tolerance * scale).all())


@pytest.mark.parametrize("angle", [1e-2, 1e-4, 1e-6, 1e-7, 1e-9])
def test_the_root_of_nearly_parallel_inputs_reproduces_their_products(angle: float) -> None:
    # The third input has all of its second component along the direction that hardly counts.
    a = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    b = torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64)
    c = torch.tensor([0, 1.0, 1.0], dtype=torch.float64)
    matrix = products(a, b, c)[None]
    factor = root(matrix)
    # A pivot below the rank tolerance of 1e-12 is left out, which costs its square root at most.
    assert float((factor @ factor.mT - matrix).abs().max()) < 1.5e-6


def test_rounding_gives_parallel_inputs_no_noise_of_their_own() -> None:
    # A pivot of one rounding would become noise of its root, 1e-8, that only one input has.
    eps = torch.finfo(torch.float64).eps
    matrix = torch.ones(1, 3, 3, dtype=torch.float64)
    matrix[0, 1, 1], matrix[0, 1, 2], matrix[0, 2, 1] = 1 + eps, 1 - eps / 2, 1 - eps / 2
    factor = root(matrix)
    assert torch.equal(factor[..., 1:], torch.zeros(1, 3, 2, dtype=torch.float64))


def test_the_root_is_triangular_so_earlier_rows_ignore_later_inputs() -> None:
    inputs = normal_inputs(5, 8)
    whole = root((inputs @ inputs.mT)[None])
    for count in range(2, 6):
        few = root((inputs[:count] @ inputs[:count].mT)[None])
        torch.testing.assert_close(whole[:, :count, :count], few, rtol=0, atol=1e-12)


# --- the arc-cosine kernel ---------------------------------------------------------------------


def test_the_kernel_has_its_known_values_at_equal_opposite_and_orthogonal_inputs() -> None:
    a = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    b = torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64)
    kernel = arc_cosine(products(a, b, -a, 2 * a))
    exact = {
        (0, 0): 25 / 2,
        (1, 1): 4 / 2,
        (0, 1): 5 * 2 / (2 * math.pi),
        (0, 2): 0.0,
        (0, 3): 2 * 25 / 2,
        (2, 3): 0.0,
    }
    for (row, column), value in exact.items():
        assert float(kernel[row, column]) == pytest.approx(value, abs=1e-13)
        assert float(kernel[column, row]) == pytest.approx(value, abs=1e-13)


def test_the_kernel_of_a_zero_input_is_zero() -> None:
    a = normal_inputs(3)
    kernel = arc_cosine(products(a, torch.zeros_like(a)))
    assert float(kernel[0, 0]) == pytest.approx(float(a @ a) / 2)
    assert kernel[0, 1] == kernel[1, 0] == kernel[1, 1] == 0


def test_the_kernel_is_the_expectation_of_relu_times_relu() -> None:
    inputs = normal_inputs(4, 6)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400_000, 6, generator=generator, dtype=torch.float64)
    fields = (rows @ inputs.mT).clamp_min(0)
    samples = fields[:, :, None] * fields[:, None, :]
    error = samples.std(dim=0) / len(samples) ** 0.5
    # Over eight seeds the largest of the ten distances was between 0.9 and 2.9 standard errors.
    distance = (samples.mean(dim=0) - arc_cosine(inputs @ inputs.mT)) / error
    assert float(distance.abs().max()) < 4
    assert float((error / samples.mean(dim=0)).max()) < 0.01


def test_the_kernel_is_positive_semidefinite_and_homogeneous() -> None:
    inputs = normal_inputs(6, 3)
    kernel = arc_cosine(inputs @ inputs.mT)
    assert float(torch.linalg.eigvalsh(kernel).min()) > -1e-12
    scales = torch.tensor([1.0, 2, 3, 0.5, 1e-3, 1e3], dtype=torch.float64)
    scaled = inputs * scales[:, None]
    expected = kernel * scales[:, None] * scales
    torch.testing.assert_close(arc_cosine(scaled @ scaled.mT), expected, rtol=1e-9, atol=1e-15)


def gram(net: limits.ResNet, h: Tensor) -> Tensor:
    return isotropic_of(net, limits.BrownianPath(h.shape[-1])).gram(h)


def test_the_gram_matrix_of_res_1_is_the_products_of_the_activations() -> None:
    h = normal_inputs(16, 3, 5)
    expected = torch.einsum("pai,pbi->pab", torch.tanh(h), torch.tanh(h))
    torch.testing.assert_close(gram(limits.ResNet("tanh"), h), expected, rtol=0, atol=1e-13)


def test_the_gram_matrix_of_res_3_is_the_kernel_path_by_path() -> None:
    h = normal_inputs(16, 3, 5)
    batched = gram(limits.ResNet("relu", block="res-3"), h)
    looped = torch.stack([arc_cosine(each @ each.mT) for each in h])
    torch.testing.assert_close(batched, looped, rtol=0, atol=1e-13)


# --- the equation ------------------------------------------------------------------------------

MODELS = {
    "res-3": (limits.ResNet("relu", block="res-3"), 0.5),
    "res-1": (limits.ResNet("identity"), 1.0),
}


def law_solution(
    block: str, width: int, *, depth: int, n_paths: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the squared norms at the end, per path, and log|H_1|^2, from a unit input."""
    limit = limits.depth_limit(MODELS[block][0], limits.BrownianPath(width), form="law")
    h0 = torch.ones(1, width, dtype=torch.float64) / math.sqrt(width)
    noise = limit.sample(depth=depth, n_paths=n_paths, seed=seed)
    out = limits.EulerMaruyama().solve(limit, h0, noise)
    return out.terminal.square().sum(-1).flatten(), 2 * out.log_norm.flatten()


@pytest.mark.parametrize("depth", [4, 64])
@pytest.mark.parametrize("width", [2, 8, 40])
@pytest.mark.parametrize("block", MODELS)
def test_the_second_moment_is_that_of_eulers_scheme(block: str, width: int, depth: int) -> None:
    # E|H_{k+1}|^2 = (1 + rate / L) E|H_k|^2 for Euler's scheme, so its bias against exp(rate) is
    # known exactly. At width 2 the moment is carried by rare paths: log-variance 1 and 2.
    # Over eight seeds the distances at depth 64 lay in [-1.97, 1.53] standard errors.
    rate = MODELS[block][1]
    squares, _ = law_solution(block, width, depth=depth, n_paths=20_000, seed=0)
    exact = (1 + rate / depth) ** depth
    error = float(squares.std()) / len(squares) ** 0.5
    assert error < 0.05 * exact
    assert abs(float(squares.mean()) - exact) < 4 * error


def test_the_second_moment_of_the_limit_is_the_exponential() -> None:
    # 128 steps: the exact bias of Euler's scheme, 0.1 and 0.4 %, is smaller than four standard
    # errors and is left in. Over eight seeds the distances lay in [-2.4, 1.1] standard errors.
    for block, (_, rate) in MODELS.items():
        squares, _ = law_solution(block, 40, depth=128, n_paths=5000, seed=1)
        error = float(squares.std()) / len(squares) ** 0.5
        bias = math.exp(rate) - (1 + rate / 128) ** 128
        assert 0 < bias < 4 * error
        assert abs(float(squares.mean()) - math.exp(rate)) < 4 * error + bias


@pytest.mark.parametrize("width", [8, 40])
@pytest.mark.parametrize("block", MODELS)
def test_the_log_norm_has_the_law_of_the_closed_form(block: str, width: int) -> None:
    # A step multiplies |H|^2 by |e + s xi|^2 with s^2 = rate / (d L); by Taylor the mean of the log
    # is s^2 (d - 2) - s^4 (d - 2)(d - 4) / 2, so the bias is -rate^2 (d - 2)(d - 4) / (2 d^2 L),
    # at most 0.0008 here: less than a fifth of a standard error (0.0045 for res-3 at d = 40).
    _, logs = law_solution(block, width, depth=512, n_paths=2500, seed=0)
    law = limits.closed_forms.log_norm_law(block, width)
    scaled = (logs - law.mean) / math.sqrt(law.variance)
    # Over eight seeds the p-values lay in [0.048, 0.99].
    assert stats.kstest(scaled.numpy(), "norm").pvalue > 0.01


def test_a_weak_error_against_the_limit_in_law_has_the_exact_value_at_low_depth() -> None:
    # Two inputs at once, of different size: the marginal second moments do not mix.
    limit = limits.depth_limit(MODELS["res-3"][0], limits.BrownianPath(8), form="law")
    h0 = torch.stack([torch.ones(8), 2 * torch.eye(8)[0]]).double()
    noise = limit.sample(depth=2, n_paths=20_000, seed=0)
    out = limits.EulerMaruyama().solve(limit, h0, noise)
    squares = out.terminal.square().sum(-1) / h0.square().sum(-1)
    for each in squares.unbind(1):
        error = float(each.std()) / len(each) ** 0.5
        assert abs(float(each.mean()) - 1.25**2) < 4 * error


def test_two_inputs_have_the_covariance_of_the_arc_cosine_kernel_after_one_step() -> None:
    # One step from fixed states: E<H^a, H^b> = <h^a, h^b> + kernel(a, b) exactly.
    h0 = normal_inputs(3, 8)
    limit = limits.depth_limit(MODELS["res-3"][0], limits.BrownianPath(8), form="law")
    noise = limit.sample(depth=1, n_paths=50_000, seed=0)
    out = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    samples = torch.einsum("pai,pbi->pab", out, out)
    error = samples.std(dim=0) / len(samples) ** 0.5
    exact = h0 @ h0.mT + arc_cosine(h0 @ h0.mT)
    # Over eight seeds the largest of the six distances was between 0.6 and 2.6.
    assert float(((samples.mean(dim=0) - exact) / error).abs().max()) < 4


@pytest.mark.parametrize(
    ("net", "path"),
    [
        (limits.ResNet("relu", block="res-3"), limits.BrownianPath(6)),
        (limits.ResNet("tanh"), limits.BrownianPath(6)),
        (limits.ResNet("tanh"), limits.IIDPath(6)),
    ],
)
def test_the_first_inputs_do_not_depend_on_how_many_follow(
    net: limits.ResNet, path: limits.WeightPath
) -> None:
    limit = limits.depth_limit(net, path, form="law")
    h0 = normal_inputs(4, 6)
    noise = limit.sample(depth=64, n_paths=32, seed=0)
    solve = limits.EulerMaruyama().solve
    whole = solve(limit, h0, noise, keep="all").values
    for count in (1, 2, 3):
        few = solve(limit, h0[:count], noise, keep="all").values
        torch.testing.assert_close(few, whole[:, :, :count], rtol=0, atol=1e-12)


def test_equal_inputs_stay_equal_and_opposite_linear_inputs_stay_opposite() -> None:
    a = normal_inputs(1, 6)
    limit = limits.depth_limit(limits.ResNet("identity"), limits.BrownianPath(6), form="law")
    noise = limit.sample(depth=64, n_paths=16, seed=0)
    out = limits.EulerMaruyama().solve(limit, torch.cat([a, a, -a]), noise).terminal
    # A distance of rounding size, squared, falls under the rank tolerance and cannot grow.
    assert relative_difference(out[:, 1], out[:, 0]) < 1e-6
    assert relative_difference(out[:, 2], -out[:, 0]) < 1e-6


def test_the_coefficient_multiplies_the_noise() -> None:
    h0 = normal_inputs(2, 6)
    path = limits.BrownianPath(6)
    single = limits.depth_limit(limits.ResNet("tanh"), path, form="law")
    double = limits.depth_limit(limits.ResNet("tanh", coefficient=2.0), path, form="law")
    noise = single.sample(depth=1, n_paths=16, seed=0)
    solve = limits.EulerMaruyama().solve
    moved = [solve(limit, h0, noise).terminal - h0 for limit in (single, double)]
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=0, atol=1e-13)
