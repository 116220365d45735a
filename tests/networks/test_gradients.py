"""Gradients and tangents: against autograd, finite differences and each other."""

import pytest
import torch

import limits
from limits import closed_forms
from tests.helpers import normal_inputs, relative_difference, within_standard_errors

BROWNIAN = limits.BrownianPath(5)
UNIFORM = limits.IIDPath(5)
SMOOTH = limits.SmoothPath(5, length_scale=0.3)
every_path = pytest.mark.parametrize("path", [BROWNIAN, SMOOTH], ids=lambda path: path.label)
every_network = pytest.mark.parametrize(
    "net",
    [
        limits.ResNet("identity"),
        limits.ResNet("tanh"),
        limits.ResNet("gelu", coefficient=-0.7),
        limits.ResNet("relu"),
        limits.ResNet(torch.nn.functional.softplus),
        limits.ResNet("relu", block="res-3"),
        limits.ResNet("tanh", beta=torch.tensor([0.3, 0.6, 1.1])),
        limits.ResNet("relu", block="res-3", beta=torch.tensor([0.3, 0.6, 1.1])),
    ],
    ids=lambda net: (
        f"{getattr(net.activation, '__name__', net.activation)}-{net.block}"
        f"{'' if net.beta is None else '-betas'}"
    ),
)

N_PATHS, N_INPUTS, WIDTH = 20, 3, 5
H0 = normal_inputs(N_PATHS, N_INPUTS, WIDTH, seed=1)
Q0 = normal_inputs(N_PATHS, N_INPUTS, WIDTH, seed=2)
COTANGENT = normal_inputs(N_PATHS, N_INPUTS, WIDTH, seed=3)
# Depth 80 is beyond the 64 layers after which homogeneous states are rescaled at the latest.
DEPTHS = pytest.mark.parametrize("depth", [2, 80])


def draw(path, depth, **options):
    return path.sample(depth=depth, n_paths=N_PATHS, seed=0, **options)


def one_layer(net, sample, k):
    """Return h -> h_{k+1} for h_k = h, from the weights alone."""
    betas = torch.as_tensor(
        sample.path.critical_beta if net.beta is None else net.beta, dtype=torch.float64
    )
    scale = (net.coefficient * sample.depth**-betas).reshape(-1, 1)
    V = sample.layer_weights[k]
    W = sample.inner.layer_weights[k]

    def layer(h):
        if net.block == "res-3":
            field = torch.einsum("pij,pnj->pni", W, h).relu()
        else:
            field = net.vector_field.activation.value(h)
        return h + scale * torch.einsum("pij,pnj->pni", V, field)

    return layer


@DEPTHS
@every_path
@every_network
def test_backward_agrees_with_autograd(net, path, depth):
    sample = draw(path, depth)
    h0 = H0.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((net(h0, sample).terminal * COTANGENT).sum(), h0)
    p = net.backward(net(H0, sample, keep="all"), sample, COTANGENT)
    assert relative_difference(p.values[0], gradient) < 1e-12
    assert torch.equal(p.values[-1], COTANGENT)


@every_path
@every_network
def test_every_step_of_backward_is_the_transposed_layer(net, path):
    sample = draw(path, 6)
    out = net(H0, sample, keep="all")
    p = net.backward(out, sample, COTANGENT)
    assert p.values.shape == (7, N_PATHS, N_INPUTS, WIDTH)
    for k in range(6):
        _, pulled = torch.autograd.functional.vjp(
            one_layer(net, sample, k), out.values[k], p.values[k + 1]
        )
        torch.testing.assert_close(p.values[k], pulled, rtol=1e-12, atol=1e-13)


@every_path
@every_network
def test_every_step_of_the_tangent_is_the_linearised_layer(net, path):
    sample = draw(path, 6)
    h, q = net.tangent(H0, Q0, sample, keep="all")
    for k in range(6):
        _, pushed = torch.autograd.functional.jvp(
            one_layer(net, sample, k), h.values[k], q.values[k]
        )
        torch.testing.assert_close(q.values[k + 1], pushed, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 12])
@every_path
@every_network
def test_tangent_and_backward_agree_with_finite_differences(net, path, depth):
    sample = draw(path, depth)
    # Between its kinks a piecewise linear network has no truncation error; a short step misses
    # the kinks.
    step = 1e-7 if net.vector_field.homogeneous else 1e-5
    ahead, behind = (net(H0 + s * Q0, sample).terminal for s in (step, -step))
    difference = (ahead - behind) / (2 * step)
    _, q = net.tangent(H0, Q0, sample)
    assert relative_difference(q.terminal, difference) < 1e-6
    p = net.backward(net(H0, sample), sample, COTANGENT)
    slope = (difference * COTANGENT).sum(dim=-1)
    assert relative_difference((p.values[0] * Q0).sum(dim=-1), slope) < 1e-6


@DEPTHS
@every_path
@every_network
def test_gradients_and_tangents_keep_their_product_at_every_layer(net, path, depth):
    sample = draw(path, depth)
    h, q = net.tangent(H0, Q0, sample, keep="all")
    p = net.backward(h, sample, COTANGENT)
    products = (p.values * q.values).sum(dim=-1)
    assert products.shape == (depth + 1, N_PATHS, N_INPUTS)
    assert relative_difference(products, products[-1:].expand_as(products)) < 1e-12


@DEPTHS
@every_network
def test_states_that_were_not_kept_are_computed_again(net, depth):
    sample = draw(BROWNIAN, depth)
    kept, ends = (net(H0, sample, keep=keep) for keep in ("all", "terminal"))
    one, other = (net.backward(out, sample, COTANGENT) for out in (kept, ends))
    torch.testing.assert_close(one.values, other.values, rtol=1e-13, atol=1e-14)


@every_network
def test_first_and_last_gradient_can_be_kept_alone(net):
    sample = draw(BROWNIAN, 80)
    out = net(H0, sample)
    everything = net.backward(out, sample, COTANGENT)
    ends = net.backward(out, sample, COTANGENT, keep="terminal")
    assert (everything.values.shape[0], ends.values.shape[0]) == (81, 2)
    assert torch.equal(ends.values, everything.values[[0, -1]])
    assert torch.equal(ends.log_norms, everything.log_norms[[0, -1]])
    assert torch.equal(ends.times, torch.tensor([0.0, 1.0], dtype=torch.float64))


@every_network
def test_tangent_keeps_the_same_states_as_the_network(net):
    sample = draw(BROWNIAN, 80)
    for keep in ("terminal", "all"):
        h, q = net.tangent(H0, Q0, sample, keep=keep)
        out = net(H0, sample, keep=keep)
        assert torch.equal(h.values, out.values)
        assert torch.equal(h.log_norms, out.log_norms)
        assert q.values.shape == out.values.shape
        assert torch.equal(q.values[0], Q0)


@pytest.mark.parametrize("depth", [6, 1])
@every_path
@every_network
def test_gradients_of_a_coarse_reading_agree_with_autograd(net, path, depth):
    sample = draw(path, 24).at_depth(depth)
    h0 = H0.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((net(h0, sample).terminal * COTANGENT).sum(), h0)
    p = net.backward(net(H0, sample), sample, COTANGENT)
    assert relative_difference(p.values[0], gradient) < 1e-12
    _, q = net.tangent(H0, Q0, sample)
    left, right = (p.values[0] * Q0).sum(dim=-1), (COTANGENT * q.terminal).sum(dim=-1)
    assert relative_difference(left, right) < 1e-12


@every_network
def test_gradient_of_a_shared_input_sums_over_paths(net):
    sample = draw(BROWNIAN, 12)
    shared = normal_inputs(N_INPUTS, WIDTH, seed=1).requires_grad_()
    out = net(shared, sample)
    (gradient,) = torch.autograd.grad((out.terminal * COTANGENT).sum(), shared)
    p = net.backward(net(shared.detach(), sample), sample, COTANGENT)
    assert relative_difference(p.values[0].sum(dim=0), gradient) < 1e-12


@every_network
def test_one_cotangent_can_be_shared_by_all_paths(net):
    sample = draw(BROWNIAN, 12)
    out = net(H0, sample)
    shared = COTANGENT[0]
    one = net.backward(out, sample, shared)
    other = net.backward(out, sample, shared.expand(N_PATHS, -1, -1).contiguous())
    torch.testing.assert_close(one.values, other.values, rtol=1e-13, atol=1e-15)


@every_network
def test_autograd_reaches_states_in_the_middle(net):
    sample = draw(BROWNIAN, 8)
    h0 = H0.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((net(h0, sample, keep="all").values[4] * COTANGENT).sum(), h0)
    _, q = net.tangent(H0, Q0, sample, keep="all")
    left, right = (gradient * Q0).sum(), (COTANGENT * q.values[4]).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


@DEPTHS
@every_network
def test_log_norm_is_differentiable(net, depth):
    sample = draw(BROWNIAN, depth)
    h0 = H0.clone().requires_grad_()
    out = net(h0, sample)
    (gradient,) = torch.autograd.grad(out.log_norm.sum(), h0)
    # d log|h_L| = <h_L, dh_L> / |h_L|^2
    h = out.terminal.detach()
    p = net.backward(net(H0, sample), sample, h / h.square().sum(dim=-1, keepdim=True))
    assert relative_difference(p.values[0], gradient) < 1e-12


@every_network
def test_nothing_is_recorded_for_inputs_without_gradients(net):
    sample = draw(BROWNIAN, 8)
    out = net(H0, sample)
    assert not out.terminal.requires_grad
    assert not net.backward(out, sample, COTANGENT).values.requires_grad
    with torch.no_grad():
        assert not net(H0.clone().requires_grad_(), sample).terminal.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "net",
    [limits.ResNet("tanh"), limits.ResNet("relu"), limits.ResNet("relu", block="res-3")],
    ids=lambda net: f"{net.activation}-{net.block}",
)
def test_chunks_and_threads_change_no_bit_of_gradients_and_tangents(net, dtype):
    # Enough work for two threads, a number of paths that sixteen does not divide.
    torch.set_num_threads(2)
    path = limits.BrownianPath(40)
    sample = path.sample(depth=12, n_paths=161, seed=0, dtype=dtype)
    assert len(sample.shares()) >= 2
    h0, q0, cotangent = (normal_inputs(161, 2, 40, seed=s, dtype=dtype) for s in (1, 2, 3))

    def both(part, rows):
        h, q = net.tangent(h0[rows], q0[rows], part, keep="all")
        return net.backward(h, part, cotangent[rows]).values, q.values

    whole = both(sample, slice(None))
    torch.set_num_threads(1)
    alone = both(sample, slice(None))
    for expected, found in zip(whole, alone, strict=True):
        assert torch.equal(expected, found)
    for chunk in (16, 48, 64):
        parts = [
            both(sample.part(first, count), slice(first, first + count))
            for first, count in sample.chunks(chunk)
        ]
        for expected, found in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(expected, torch.cat(found, dim=1))


@pytest.mark.thorough
@pytest.mark.parametrize("block", ["res-1", "res-3"])
def test_float32_gradients_agree_with_float64_at_depth_1000(block):
    # Measured: 3e-6 (res-1, relu) and 2e-6 (res-3).
    found = []
    for dtype in (torch.float32, torch.float64):
        sample = limits.BrownianPath(8).sample(depth=1000, n_paths=16, seed=0, dtype=dtype)
        net = limits.ResNet("relu" if block == "res-3" else "tanh", block=block)
        out = net(normal_inputs(2, 8, dtype=dtype), sample)
        cotangent = normal_inputs(16, 2, 8, seed=3, dtype=dtype)
        found.append(net.backward(out, sample, cotangent, keep="terminal").values[0].double())
    assert relative_difference(*found) < 1e-4


# --- second moments ---


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [limits.BrownianPath, limits.IIDPath], ids=["gaussian", "uniform"])
@pytest.mark.parametrize(("width", "beta"), [(16, 0.5), (40, 0.5), (4, 0.75), (16, 1.0)])
def test_tangents_and_gradients_of_res_3_grow_like_its_states(kind, width, beta):
    # Over 8 seeds and all parameters: z from -2.6 to 3.3, root mean square 1.08.
    # Not for Rademacher inner weights: their atoms put W h on the kink of relu too often. The
    # cotangent is independent of the hidden weights, as behind a frozen scalar output.
    net = limits.ResNet("relu", block="res-3", beta=beta)
    sample = kind(width).sample(depth=32, n_paths={4: 16384, 16: 2048, 40: 512}[width], seed=0)
    h0, q0, cotangent = (
        torch.nn.functional.normalize(normal_inputs(1, width, seed=s), dim=-1) for s in (1, 2, 3)
    )
    h, q = net.tangent(h0, q0, sample)
    p = net.backward(h, sample, cotangent, keep="terminal").values[0]
    exact = float(closed_forms.relu_second_moment(32, 32**-beta))
    for vector in (q.terminal, p):
        ratios = vector[:, 0].square().sum(dim=-1)
        assert within_standard_errors(ratios, exact, precision=0.02)
    for moved in (q.terminal - q0, p - cotangent):
        squares = moved[:, 0].square().sum(dim=-1)
        assert within_standard_errors(squares, exact - 1, precision=0.05 * (exact - 1))


# --- input that does not fit ---


NET = limits.ResNet("tanh")
SAMPLE = draw(BROWNIAN, 8)
OUT = NET(H0, SAMPLE)


@pytest.mark.parametrize(
    "sample",
    [
        BROWNIAN.sample(depth=8, n_paths=N_PATHS, seed=1),
        BROWNIAN.sample(depth=16, n_paths=N_PATHS, seed=0),
        UNIFORM.sample(depth=8, n_paths=N_PATHS, seed=0),
        SAMPLE.at_depth(4),
        SAMPLE.inner,
    ],
    ids=["seed", "drawn deeper", "law", "read shallower", "inner"],
)
def test_backward_on_another_draw_says_which_to_pass(sample):
    with pytest.raises(limits.CouplingError, match="Pass the sample that the network read"):
        NET.backward(OUT, sample, COTANGENT)


def test_backward_on_another_number_of_paths_says_which_to_pass():
    sample = BROWNIAN.sample(depth=8, n_paths=16, seed=0)
    with pytest.raises(limits.CouplingError, match=f"{N_PATHS} paths, the sample is .* 16 paths"):
        NET.backward(OUT, sample, COTANGENT[:16])


def test_backward_on_another_part_of_the_draw_is_refused():
    sample = BROWNIAN.sample(depth=8, n_paths=32, seed=0)
    out = NET(H0[:16], sample.part(0, 16))
    with pytest.raises(limits.CouplingError):
        NET.backward(out, sample.part(16, 16), COTANGENT[:16])


def test_backward_in_another_precision_is_refused():
    with pytest.raises(limits.DTypeError):
        NET.backward(OUT, draw(BROWNIAN, 8, dtype=torch.float32), COTANGENT.float())


@pytest.mark.parametrize(
    "shape", [(WIDTH,), (N_INPUTS, WIDTH + 1), (N_PATHS - 1, N_INPUTS, WIDTH), (N_PATHS, 2, WIDTH)]
)
def test_cotangent_of_the_wrong_shape_says_which_to_pass(shape):
    with pytest.raises(limits.ShapeError, match="cotangent"):
        NET.backward(OUT, SAMPLE, torch.ones(shape, dtype=torch.float64))


def test_cotangent_of_another_dtype_says_how_to_convert():
    with pytest.raises(limits.DTypeError, match=r"Use cotangent\.to\("):
        NET.backward(OUT, SAMPLE, COTANGENT.float())


def test_cotangent_with_missing_values_is_refused():
    with pytest.raises(limits.NonFiniteStateError, match="cotangent has 300 NaN"):
        NET.backward(OUT, SAMPLE, COTANGENT * float("nan"))


def test_tangents_must_be_shaped_like_the_inputs():
    with pytest.raises(limits.ShapeError, match="Pass one direction per input"):
        NET.tangent(H0, Q0[:, :2], SAMPLE)


@pytest.mark.parametrize(
    "call",
    [
        lambda: NET.backward(OUT, SAMPLE, COTANGENT, keep="first"),
        lambda: NET.tangent(H0, Q0, SAMPLE, keep="first"),
    ],
    ids=["backward", "tangent"],
)
def test_unknown_choice_of_what_to_keep_lists_the_known_ones(call):
    with pytest.raises(limits.LimitsError, match=r'keep must be "(terminal|all)" or'):
        call()


@pytest.mark.parametrize("out", [None, H0], ids=["None", "tensor"])
def test_backward_without_a_trajectory_is_refused(out):
    with pytest.raises(limits.LimitsError):
        NET.backward(out, SAMPLE, COTANGENT)


def test_tangent_that_overflows_names_the_layer_like_the_network():
    net = limits.ResNet("gelu", beta=-3.0)
    sample = draw(BROWNIAN, 64)
    with pytest.raises(limits.NonFiniteStateError, match="overflowed at layer"):
        net(H0, sample)
    with pytest.raises(limits.NonFiniteStateError, match="overflowed at layer"):
        net.tangent(H0, Q0, sample)
