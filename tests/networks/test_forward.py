import math

import pytest
import torch
from scipy.stats import kstest, norm

import limits
from limits import closed_forms
from limits.networks.embedding import embed
from tests.helpers import normal_inputs, relative_difference, within_standard_errors
from tests.problems import looped_states, relu_log_moments

BROWNIAN = limits.BrownianPath(5)
UNIFORM = limits.IIDPath(5)
SMOOTH = limits.SmoothPath(5, length_scale=0.3)
PATHS = (BROWNIAN, UNIFORM, SMOOTH)
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
every_network = pytest.mark.parametrize(
    "net",
    [
        limits.ResNet("identity"),
        limits.ResNet("tanh"),
        limits.ResNet("gelu"),
        limits.ResNet("relu"),
        limits.ResNet("relu", block="res-3"),
    ],
    ids=lambda net: f"{net.activation}-{net.block}",
)

FUNCTIONS = {
    "identity": lambda h: h,
    "relu": lambda h: h.clamp_min(0),
    "tanh": torch.tanh,
    "gelu": lambda h: h * torch.special.ndtr(h),
    torch.nn.functional.softplus: lambda h: torch.log1p(torch.exp(h)),
}


def expected_states(net, h0, sample, *, beta):
    inner = sample.inner.layer_weights if net.block == "res-3" else None
    return looped_states(
        h0,
        sample.layer_weights,
        inner,
        activation=FUNCTIONS[net.activation],
        beta=beta,
        coefficient=net.coefficient,
    )


# --- the recursion, against explicit loops ---


@pytest.mark.parametrize("depth", [1, 2, 7, 24])
@pytest.mark.parametrize("activation", FUNCTIONS, ids=lambda name: getattr(name, "__name__", name))
@every_path
def test_res_1_is_the_explicit_recursion(path, activation, depth):
    sample = path.sample(depth=depth, n_paths=3, seed=0)
    h0 = normal_inputs(2, 5)
    net = limits.ResNet(activation)
    out = net(h0, sample, keep="all")
    expected = expected_states(net, h0, sample, beta=path.critical_beta)
    torch.testing.assert_close(out.values, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 2, 7, 24])
@every_path
def test_res_3_is_the_explicit_recursion(path, depth):
    sample = path.sample(depth=depth, n_paths=3, seed=0)
    h0 = normal_inputs(2, 5)
    net = limits.ResNet("relu", block="res-3")
    out = net(h0, sample, keep="all")
    expected = expected_states(net, h0, sample, beta=path.critical_beta)
    torch.testing.assert_close(out.values, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("coefficient", [1.0, -0.7, 2])
@pytest.mark.parametrize(
    "beta",
    [0.0, 0.25, 0.5, 1, 1.3, torch.tensor(0.4), torch.tensor([0.3, 1.1], dtype=torch.float64)],
    ids=str,
)
@pytest.mark.parametrize("path", [BROWNIAN, SMOOTH], ids=lambda path: path.label)
@pytest.mark.parametrize(("activation", "block"), [("tanh", "res-1"), ("relu", "res-3")])
def test_exponent_and_coefficient_scale_the_residual(activation, block, path, beta, coefficient):
    sample = path.sample(depth=12, n_paths=3, seed=0)
    h0 = normal_inputs(2, 5)
    net = limits.ResNet(activation, block=block, beta=beta, coefficient=coefficient)
    plain = torch.as_tensor(beta, dtype=torch.float64).tolist()
    expected = expected_states(net, h0, sample, beta=plain)
    torch.testing.assert_close(net(h0, sample, keep="all").values, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("depth", [24, 6, 1])
@every_path
@pytest.mark.parametrize(("activation", "block"), [("tanh", "res-1"), ("relu", "res-3")])
def test_network_reads_a_draw_at_any_depth(activation, block, path, depth):
    sample = path.sample(depth=24, n_paths=3, seed=0).at_depth(depth)
    h0 = normal_inputs(2, 5)
    net = limits.ResNet(activation, block=block)
    out = net(h0, sample, keep="all")
    expected = expected_states(net, h0, sample, beta=path.critical_beta)
    torch.testing.assert_close(out.values, expected, rtol=1e-12, atol=1e-13)
    assert (out.depth, out.tag) == (depth, sample.tag)


def test_increments_act_on_columns():
    # dh_i = sum_j dX_ij g_j: one non-zero entry of the input picks one column.
    sample = BROWNIAN.sample(depth=1, n_paths=4, seed=0)
    h0 = torch.zeros(1, 5, dtype=torch.float64)
    h0[0, 2] = 1.0
    out = limits.ResNet("identity")(h0, sample)
    torch.testing.assert_close(
        (out.terminal - h0)[:, 0], sample.increments[0, :, :, 2], rtol=1e-14, atol=1e-16
    )


@every_network
def test_inputs_may_be_shared_or_one_set_per_path(net):
    sample = BROWNIAN.sample(depth=8, n_paths=20, seed=0)
    shared = normal_inputs(3, 5)
    own = shared.expand(20, 3, 5).contiguous()
    assert torch.equal(net(shared, sample).terminal, net(own, sample).terminal)
    different = normal_inputs(20, 3, 5, seed=1)
    out = net(different, sample, keep="all")
    expected = expected_states(net, different, sample, beta=0.5)
    torch.testing.assert_close(out.values, expected, rtol=1e-12, atol=1e-13)


# --- what a trajectory holds ---


@every_network
def test_first_and_last_state_are_kept_unless_all_are_asked_for(net):
    sample = BROWNIAN.sample(depth=8, n_paths=20, seed=0)
    h0 = normal_inputs(3, 5)
    ends, everything = net(h0, sample), net(h0, sample, keep="all")
    assert ends.values.shape == (2, 20, 3, 5)
    assert everything.values.shape == (9, 20, 3, 5)
    assert (ends.keeps_all, everything.keeps_all) == (False, True)
    assert torch.equal(ends.values, everything.values[[0, -1]])
    assert torch.equal(ends.log_norms, everything.log_norms[[0, -1]])
    assert torch.equal(ends.times, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.equal(everything.times, torch.arange(9, dtype=torch.float64) / 8)
    assert torch.equal(everything.values[0], h0.expand(20, 3, 5))


def test_network_of_one_layer_keeps_two_states():
    out = limits.ResNet("tanh")(
        normal_inputs(1, 5), BROWNIAN.sample(depth=1, n_paths=2, seed=0), keep="all"
    )
    assert out.values.shape == (2, 2, 1, 5)
    assert out.keeps_all


def test_inputs_are_left_as_they_were():
    h0 = normal_inputs(20, 3, 5)
    before = h0.clone()
    out = limits.ResNet("relu", block="res-3")(
        h0, BROWNIAN.sample(depth=80, n_paths=20, seed=0), keep="all"
    )
    assert torch.equal(h0, before)
    assert torch.equal(out.values[0], before)


# --- numbers that depend on nothing but the draw ---


@every_path
@every_network
def test_batched_equals_looped_over_paths_and_inputs(net, path):
    sample = path.sample(depth=16, n_paths=18, seed=0)
    h0 = normal_inputs(3, 5)
    together = net(h0, sample).terminal
    inner = sample.inner.layer_weights
    for p in (0, 5, 17):
        for n in range(3):
            alone = looped_states(
                h0[n : n + 1],
                sample.layer_weights[:, p : p + 1],
                inner[:, p : p + 1] if net.block == "res-3" else None,
                activation=FUNCTIONS[net.activation],
                beta=path.critical_beta,
            )
            torch.testing.assert_close(together[p, n], alone[-1, 0, 0], rtol=1e-12, atol=1e-13)
            by_itself = net(h0[n : n + 1], sample).terminal[p, 0]
            torch.testing.assert_close(together[p, n], by_itself, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("width", [5, pytest.param(40, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("kind", [limits.BrownianPath, limits.SmoothPath])
@every_network
def test_chunks_change_no_bit(net, kind, width, dtype):
    sample = kind(width).sample(depth=10, n_paths=81, seed=0, dtype=dtype)
    h0 = normal_inputs(2, width, dtype=dtype)
    whole = net(h0, sample)
    for chunk in (16, 48, 64):
        parts = [net(h0, sample.part(*each)) for each in sample.chunks(chunk)]
        # The last chunk of 16 holds one path.
        assert torch.equal(torch.cat([part.terminal for part in parts]), whole.terminal)
        assert torch.equal(torch.cat([part.log_norm for part in parts]), whole.log_norm)


def test_chunks_change_nothing_but_the_last_bits_of_other_activations():
    # Some functions of torch treat the end of a tensor apart from its middle.
    net = limits.ResNet(torch.nn.functional.softplus)
    sample = BROWNIAN.sample(depth=10, n_paths=81, seed=0)
    h0 = normal_inputs(2, 5)
    parts = [net(h0, sample.part(*each)).terminal for each in sample.chunks(16)]
    assert relative_difference(torch.cat(parts), net(h0, sample).terminal) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("path", [limits.BrownianPath(40), limits.SmoothPath(40)])
@every_network
def test_threads_change_no_bit(net, path, dtype):
    # Enough work for two threads.
    torch.set_num_threads(2)
    sample = path.sample(depth=10, n_paths=128, seed=0, dtype=dtype)
    assert len(sample.shares()) >= 2
    h0 = normal_inputs(2, 40, dtype=dtype)
    outs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        outs.append(net(h0, sample, keep="all").values)
        assert torch.get_num_threads() == threads
    assert torch.equal(*outs)


@pytest.mark.parametrize("n_paths", [1, 5, 16, 20, 48])
@every_path
@every_network
def test_first_paths_of_a_longer_draw_give_the_same_states(net, path, n_paths):
    h0 = normal_inputs(2, 5)
    few, many = (net(h0, path.sample(depth=12, n_paths=n, seed=0)).terminal for n in (n_paths, 64))
    assert torch.equal(few, many[:n_paths])


@pytest.mark.parametrize("width", [8, 40])
def test_float32_and_float64_agree_at_depth_1000(width):
    # Relative to the largest entry; measured 2e-6 (8) and 3e-6 (40).
    path = limits.BrownianPath(width)
    single, double = (
        limits.ResNet("tanh")(
            normal_inputs(2, width, dtype=dtype),
            path.sample(depth=1000, n_paths=16, seed=0, dtype=dtype),
        ).terminal.double()
        for dtype in (torch.float32, torch.float64)
    )
    assert relative_difference(single, double) < 1e-4


# --- laws at finite depth ---


def unit_input(width):
    h0 = torch.zeros(1, width, dtype=torch.float64)
    h0[0, 0] = 1.0
    return h0


def spread(depth, width, beta):
    """Return the variance 2 L^(1 - 2 beta) / d of the log of the squared norm."""
    return 2 * depth ** (1 - 2 * beta) / width


LAWS = pytest.mark.parametrize(
    "kind", [limits.BrownianPath, limits.IIDPath], ids=["gaussian", "uniform"]
)
# The pairs whose mean is not dominated by rare draws: 2 L^(1 - 2 beta) / d <= 0.3 at L = 32.
MOMENTS = pytest.mark.parametrize(
    ("width", "beta"),
    [
        (width, beta)
        for width in (4, 16, 40)
        for beta in (0.5, 0.75, 1.0)
        if spread(32, width, beta) <= 0.3
    ],
)


N_PATHS = {4: 16384, 16: 4096, 40: 1024}


@LAWS
@MOMENTS
def test_moments_of_res_3_are_the_closed_forms(kind, width, beta):
    # Over 8 seeds and all parameters: second moment z from -1.6 to 2.5, distance and mean z from
    # -2.2 to 2.8 (root mean squares 0.92 and 1.01).
    net = limits.ResNet("relu", block="res-3", beta=beta)
    sample = kind(width).sample(depth=32, n_paths=N_PATHS[width], seed=0)
    h0 = unit_input(width)
    h = net(h0, sample).terminal[:, 0]
    exact = float(closed_forms.relu_second_moment(32, 32**-beta))
    assert within_standard_errors(h.square().sum(dim=-1), exact, precision=0.02)
    # E h_L = h_0, so the distance has the moment less one, and far less noise.
    distance = (h - h0).square().sum(dim=-1)
    assert within_standard_errors(distance, exact - 1, precision=0.05 * (exact - 1))
    assert within_standard_errors(h[:, 0], 1.0, precision=0.01)


@pytest.mark.parametrize(
    ("depth", "width", "beta"), [(32, 4, 0.5), (64, 4, 0.25), (64, 16, 0.25), (64, 8, 0.0)]
)
def test_mean_log_of_res_3_is_exact_where_its_moments_are_out_of_reach(depth, width, beta):
    # Over 8 seeds: z from -2.9 to 2.2 (mean log) and -2.7 to 2.0 (its variance).
    # Gaussian weights only: their isotropy makes the layers' factors independent, with exact
    # moments by quadrature (see relu_log_moments). Uniform V is not isotropic: no such formula.
    assert spread(depth, width, beta) > 0.3
    net = limits.ResNet("relu", block="res-3", beta=beta)
    sample = limits.BrownianPath(width).sample(depth=depth, n_paths=2048, seed=0)
    logs = 2 * net(unit_input(width), sample).log_norm[:, 0]
    exact = relu_log_moments(depth, width, depth**-beta)
    wide = math.sqrt(exact.variance)
    assert within_standard_errors(logs, exact.mean, precision=0.03 * wide)
    squares = (logs - exact.mean).square()
    assert within_standard_errors(squares, exact.variance, precision=0.05 * exact.variance)


@LAWS
def test_second_moment_of_the_linear_network_is_the_closed_form(kind):
    # Over 8 seeds: z from -1.8 to 0.7 (Gaussian), -1.8 to 2.9 (uniform).
    sample = kind(16).sample(depth=32, n_paths=2048, seed=0)
    ratios = limits.ResNet("identity")(unit_input(16), sample).terminal.square().sum(dim=-1)[:, 0]
    assert within_standard_errors(
        ratios, float(closed_forms.linear_second_moment(32)), precision=0.04
    )


def log_norms_of_res_3(width, seed=0):
    """Return log(|h_L|^2 / |h_0|^2) of 10^4 draws at depth 512."""
    sample = limits.BrownianPath(width).sample(
        depth=512, n_paths=10_000, seed=seed, dtype=torch.float32
    )
    h0 = unit_input(width).float()
    return 2 * limits.ResNet("relu", block="res-3")(h0, sample).log_norm[:, 0].double()


def check_against_limit_law(logs, width):
    law = closed_forms.log_norm_law("res-3", width)
    deviation = math.sqrt(law.variance)
    # At a finite depth the mean is off by a bias that is known to first order in 1 / L.
    bias = float(closed_forms.relu_log_mean_depth_bias(512, width))
    assert kstest(logs.numpy(), norm(law.mean + bias, deviation).cdf).pvalue > 0.01
    # It is 3e-4 (width 8) and 1e-3 (width 40) standard deviations, where 10^4 draws resolve
    # 1e-2: the law of infinite depth itself passes too.
    assert kstest(logs.numpy(), norm(law.mean, deviation).cdf).pvalue > 0.01


@pytest.mark.thorough
def test_log_norm_of_res_3_has_its_limit_law_at_width_8():
    # p-values over 8 seeds: 0.20 0.08 0.30 0.40 0.52 0.84 0.80 0.09; without the bias they
    # differ by 0.02 at most.
    check_against_limit_law(log_norms_of_res_3(8), 8)


@pytest.mark.slow
def test_log_norm_of_res_3_has_its_limit_law_at_width_40():
    # p-values over 4 seeds (two minutes each): 0.92 0.005 0.09 0.54.
    check_against_limit_law(log_norms_of_res_3(40), 40)


# --- the input layer ---


def test_embedding_keeps_the_mean_square_norm():
    data = normal_inputs(1, 30)
    squares = [
        float((embed(data, width=20, seed=seed) ** 2).sum() / (data**2).sum())
        for seed in range(400)
    ]
    assert within_standard_errors(squares, 1.0, precision=0.02)


def test_embedding_is_linear_and_the_same_for_every_batch_and_precision():
    data = normal_inputs(6, 30)
    whole = embed(data, width=7, seed=0)
    torch.testing.assert_close(
        embed(data[2:4], width=7, seed=0), whole[2:4], rtol=1e-13, atol=1e-15
    )
    torch.testing.assert_close(embed(2 * data, width=7, seed=0), 2 * whole)
    single = embed(data, width=7, seed=0, dtype=torch.float32)
    torch.testing.assert_close(single.double(), whole, rtol=1e-5, atol=1e-6)


def test_embeddings_of_different_seeds_differ():
    data = normal_inputs(1, 30)
    one, other = (embed(data, width=7, seed=seed) for seed in (0, 1))
    assert not bool((one == other).any())


@pytest.mark.parametrize("data", [torch.ones(3), torch.ones(1, 2, 3), torch.ones(0, 3), [[1.0]]])
def test_data_of_the_wrong_shape_say_how_to_flatten(data):
    with pytest.raises(limits.ShapeError, match=r"Flatten images with x\.flatten\(1\)"):
        embed(data, width=4, seed=0)


def test_data_with_missing_values_are_refused():
    with pytest.raises(limits.NonFiniteStateError, match="1 NaN or infinite entries out of 2"):
        embed(torch.tensor([[1.0, math.nan]]), width=4, seed=0)


# --- states that overflow ---


def exploding(n_paths=32):
    net = limits.ResNet("gelu", beta=-3.0)
    return net, normal_inputs(1, 5), BROWNIAN.sample(depth=64, n_paths=n_paths, seed=0)


def test_overflow_names_layer_depth_paths_and_exponent():
    net, h0, sample = exploding()
    states = net(h0, sample, keep="all", nonfinite="keep").values
    finite = torch.isfinite(states).all(dim=-1).all(dim=-1)
    n_bad = int((~finite[-1]).sum())
    assert n_bad > 0
    first = int((~finite.all(dim=1)).nonzero()[0]) - 1
    with pytest.raises(limits.NonFiniteStateError) as caught:
        net(h0, sample)
    message = str(caught.value)
    assert f"at layer {first} of 64 in {n_bad} of 32 paths" in message
    assert "regime: explosion, beta=-3, critical 0.5" in message
    assert 'nonfinite="keep"' in message


def test_overflow_of_one_exponent_among_several_names_the_smallest():
    _, h0, sample = exploding()
    net = limits.ResNet("gelu", beta=torch.tensor([0.5, -3.0]))
    with pytest.raises(limits.NonFiniteStateError, match=r"smallest beta=-3, critical 0\.5"):
        net(h0.expand(2, 5), sample)


def test_overflow_can_be_recorded():
    net, h0, sample = exploding()
    out = net(h0, sample, nonfinite="keep")
    assert not bool(torch.isfinite(out.terminal).all())
    assert not bool(torch.isfinite(out.log_norm).all())


def test_bounded_networks_do_not_overflow_in_the_explosive_regime():
    out = limits.ResNet("tanh", beta=-3.0)(
        normal_inputs(1, 5), BROWNIAN.sample(depth=64, n_paths=32, seed=0)
    )
    assert bool(torch.isfinite(out.terminal).all())


# --- input that does not fit ---


SAMPLE = BROWNIAN.sample(depth=8, n_paths=20, seed=0)


@pytest.mark.parametrize(
    "h0",
    [
        torch.ones(5, dtype=torch.float64),
        torch.ones(2, 4, dtype=torch.float64),
        torch.ones(19, 2, 5, dtype=torch.float64),
        torch.ones(20, 2, 4, dtype=torch.float64),
        torch.ones(1, 20, 2, 5, dtype=torch.float64),
        torch.ones(0, 5, dtype=torch.float64),
        torch.ones(20, 0, 5, dtype=torch.float64),
        torch.tensor(1.0, dtype=torch.float64),
    ],
    ids=lambda h0: str(tuple(h0.shape)),
)
def test_inputs_of_the_wrong_shape_say_which_to_pass(h0):
    with pytest.raises(
        limits.ShapeError, match=r"must have shape \(input, 5\) or \(20, input, 5\)"
    ):
        limits.ResNet("tanh")(h0, SAMPLE)


@pytest.mark.parametrize("h0", [[[1.0] * 5], None, 3.0])
def test_inputs_that_are_no_tensors_say_how_to_convert(h0):
    with pytest.raises(limits.ShapeError, match=r"Use torch\.as_tensor"):
        limits.ResNet("tanh")(h0, SAMPLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float16])
def test_inputs_of_another_dtype_say_how_to_convert(dtype):
    with pytest.raises(limits.DTypeError, match=r"Use h0\.to\(sample\.device, sample\.dtype\)"):
        limits.ResNet("tanh")(torch.ones(1, 5, dtype=dtype), SAMPLE)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_network
def test_non_finite_inputs_are_counted(net, bad):
    h0 = torch.ones(2, 5, dtype=torch.float64)
    h0[1, 3] = bad
    with pytest.raises(limits.NonFiniteStateError, match="1 NaN or infinite entries out of 10"):
        net(h0, SAMPLE)


@pytest.mark.parametrize("sample", [None, BROWNIAN, torch.ones(8, 20, 5, 5)], ids=type)
def test_weights_that_are_no_sample_say_how_to_draw_one(sample):
    with pytest.raises(limits.ShapeError, match=r"path\.sample\(depth=64"):
        limits.ResNet("tanh")(torch.ones(1, 5, dtype=torch.float64), sample)


def test_unknown_block_lists_the_known_ones():
    with pytest.raises(limits.LimitsError, match="Use one of res-1, res-2, res-3"):
        limits.ResNet("tanh", block="res-9")


@pytest.mark.parametrize("activation", ["tanh", "identity", torch.sin])
def test_res_3_with_another_activation_says_what_to_use(activation):
    with pytest.raises(limits.LimitsError, match=r'Use ResNet\("relu", block="res-3"\)'):
        limits.ResNet(activation, block="res-3")


def test_res_3_refuses_a_callable_that_happens_to_be_called_relu():
    def relu(h):
        return 2 * h.clamp_min(0)

    with pytest.raises(limits.LimitsError, match=r'Use ResNet\("relu", block="res-3"\)'):
        limits.ResNet(relu, block="res-3")


@pytest.mark.parametrize("beta", [math.nan, math.inf, torch.tensor([0.5, math.nan])], ids=str)
def test_non_finite_exponent_is_refused(beta):
    with pytest.raises(limits.LimitsError, match=r"Use for example 0\.5, or leave it out"):
        limits.ResNet("tanh", beta=beta)


@pytest.mark.parametrize("beta", ["0.5", "critical", [0.5, 1.0], (0.5, 1.0), 0.5j], ids=str)
def test_exponent_that_is_neither_number_nor_tensor_is_refused(beta):
    with pytest.raises(limits.LimitsError):
        limits.ResNet("tanh", beta=beta)(torch.ones(2, 5, dtype=torch.float64), SAMPLE)


@pytest.mark.parametrize("beta", [torch.ones(3), torch.ones(1), torch.ones(1, 2)], ids=str)
def test_exponents_that_do_not_match_the_inputs_say_how_many_to_pass(beta):
    with pytest.raises(limits.ShapeError, match=r"one value per input, shape \(2,\)"):
        limits.ResNet("tanh", beta=beta)(torch.ones(2, 5, dtype=torch.float64), SAMPLE)


@pytest.mark.parametrize("coefficient", [math.nan, math.inf, "1", None])
def test_bad_coefficient_says_what_to_use(coefficient):
    with pytest.raises(limits.LimitsError, match=r"Use 1\.0"):
        limits.ResNet("tanh", coefficient=coefficient)


@pytest.mark.parametrize("options", [{"keep": "last"}, {"keep": None}, {"nonfinite": "ignore"}])
def test_unknown_choice_lists_the_known_ones(options):
    with pytest.raises(limits.LimitsError, match=r'"terminal" or "all"|"raise" or "keep"'):
        limits.ResNet("tanh")(torch.ones(2, 5, dtype=torch.float64), SAMPLE, **options)
