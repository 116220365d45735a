"""The theorem table: what every family of weights and every block converge to, and what not."""

import math

import pytest
import torch
from torch import Tensor

import limits

WIDTH = 3
RES1 = limits.ResNet("tanh")
RES2 = limits.ResNet("tanh", block="res-2")
RES3 = limits.ResNet("relu", block="res-3")
BROWNIAN = limits.BrownianPath(WIDTH)
IID = limits.IIDPath(WIDTH, law="uniform")
SMOOTH = limits.SmoothPath(WIDTH)
YOUNG = limits.FractionalPath(WIDTH, hurst=0.7)
HALF = limits.FractionalPath(WIDTH, hurst=0.5)
ROUGH = limits.FractionalPath(WIDTH, hurst=0.2)
TRAINED = limits.TrainedPath(torch.ones(8, WIDTH, WIDTH, dtype=torch.float64), index=1.0)

H0 = torch.linspace(-1, 1, WIDTH, dtype=torch.float64)[None]


def row(net: limits.ResNet, path: limits.WeightPath, form: str = "path") -> tuple[object, ...]:
    limit = limits.depth_limit(net, path, form=form)
    order = None if limit.order is None else round(limit.order, 12)
    return limit.kind, limit.coupling, limit.form, order


# --- the table ----------------------------------------------------------------------------------

TABLE = [
    ("i.i.d. Gaussian, res-1", RES1, BROWNIAN, ("sde", "strong", "path", 0.5)),
    ("i.i.d. Gaussian, res-2", RES2, BROWNIAN, ("sde", "law", "law", 1.0)),
    ("i.i.d. Gaussian, res-3", RES3, BROWNIAN, ("sde", "law", "law", 1.0)),
    ("fractional at one half", RES1, HALF, ("sde", "strong", "path", 0.5)),
    ("fractional at one half, res-3", RES3, HALF, ("sde", "law", "law", 1.0)),
    ("uniform, res-1", RES1, IID, ("sde", "law", "law", 1.0)),
    ("uniform, res-3", RES3, IID, ("sde", "law", "law", 1.0)),
    ("smooth, res-1", RES1, SMOOTH, ("ode", "strong", "path", 1.0)),
    ("smooth, res-2", RES2, SMOOTH, ("ode", "strong", "path", 1.0)),
    ("smooth, res-3", RES3, SMOOTH, ("ode", "strong", "path", 1.0)),
    ("trained and smooth", RES1, TRAINED, ("ode", "strong", "path", 1.0)),
    ("persistent, res-1", RES1, YOUNG, ("young", "strong", "path", 0.4)),
    ("persistent, res-2", RES2, YOUNG, ("young", "strong", "path", 0.2)),
    ("persistent, res-3", RES3, YOUNG, ("young", "strong", "path", 0.2)),
    ("antipersistent, res-1", RES1, ROUGH, ("ode", "strong", "path", 0.3)),
    ("antipersistent, res-3", RES3, ROUGH, ("sde", "law", "law", None)),
]


@pytest.mark.parametrize(("net", "path", "expected"), [each[1:] for each in TABLE],
                         ids=[each[0] for each in TABLE])  # fmt: skip
def test_row_of_the_table(
    net: limits.ResNet, path: limits.WeightPath, expected: tuple[object, ...]
) -> None:
    assert row(net, path) == expected
    limit = limits.depth_limit(net, path)
    assert limit.equation
    assert limit.theorem.source


@pytest.mark.parametrize("path", [BROWNIAN, HALF, IID])
def test_independent_weights_have_a_law_form_on_request(path: limits.WeightPath) -> None:
    assert row(RES1, path, "law") == ("sde", "law", "law", 1.0)


@pytest.mark.parametrize("path", [SMOOTH, YOUNG])
def test_form_in_law_falls_back_to_the_path_where_there_is_no_other(
    path: limits.WeightPath,
) -> None:
    assert limits.depth_limit(RES1, path, form="law").form == "path"


@pytest.mark.parametrize(
    ("hurst", "plain", "corrected", "averaged"),
    [(0.55, 0.1, 0.6, 0.05), (0.6, 0.2, 0.7, 0.1), (0.75, 0.5, 1.0, 0.25), (0.9, 0.8, 1.0, 0.1)],
)
def test_young_orders_follow_the_hurst_index(
    hurst: float, plain: float, corrected: float, averaged: float
) -> None:
    path = limits.FractionalPath(WIDTH, hurst=hurst)
    orders = [
        limits.depth_limit(net, path).order
        for net in (RES1, limits.ResNet("tanh", corrected=True), RES3)
    ]
    assert orders == pytest.approx([plain, corrected, averaged])


@pytest.mark.parametrize("hurst", [0.05, 0.2, 0.49])
def test_rough_order_is_one_half_minus_h(hurst: float) -> None:
    limit = limits.depth_limit(RES1, limits.FractionalPath(WIDTH, hurst=hurst))
    assert limit.order == pytest.approx(0.5 - hurst)


def test_field_of_the_limit_is_the_averaged_one_only_where_inner_weights_average_out() -> None:
    assert isinstance(limits.depth_limit(RES3, YOUNG).block, limits.AveragedInner)
    assert isinstance(limits.depth_limit(RES2, YOUNG).block, limits.AveragedInner)
    assert isinstance(limits.depth_limit(RES3, SMOOTH).block, limits.Inner)
    assert not isinstance(limits.depth_limit(RES1, YOUNG).block, limits.AveragedInner)


# --- regimes ------------------------------------------------------------------------------------

PATHS = [BROWNIAN, IID, SMOOTH, YOUNG, ROUGH, TRAINED]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
@pytest.mark.parametrize("net", [RES1, RES3], ids=["res-1", "res-3"])
def test_regime_changes_at_the_critical_exponent(
    net: limits.ResNet, path: limits.WeightPath
) -> None:
    critical = max(path.index, 0.5)

    def kind(beta: float) -> str:
        moved = limits.ResNet(net.activation, block=net.block, beta=beta)
        return limits.depth_limit(moved, path).kind

    assert kind(critical + 0.01) == "identity"
    contracts = path is ROUGH and net is RES1
    assert kind(critical - 0.01) == ("contraction" if contracts else "explosion")
    assert kind(critical) == limits.depth_limit(net, path).kind
    assert kind(critical) in ("sde", "ode", "young")


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.49])
def test_contraction_has_no_limit_to_solve(beta: float) -> None:
    limit = limits.depth_limit(limits.ResNet("tanh", beta=beta), ROUGH)
    assert (limit.kind, limit.order) == ("contraction", None)
    sample = ROUGH.sample(depth=4, n_paths=2, seed=0)
    with pytest.raises(limits.NoLimitError, match=rf"beta={beta}.*shrink.*Use beta=0\.5"):
        limits.EulerMaruyama().solve(limit, H0, sample)
    with pytest.raises(limits.NoLimitError, match=r"Use beta=0\.5"):
        limits.convergence_study(limit.net, ROUGH, depths=(2, 4, 8), n_paths=4, seed=0)


def test_identity_solves_to_the_input_for_every_family() -> None:
    for path in (BROWNIAN, SMOOTH, YOUNG, ROUGH):
        limit = limits.depth_limit(limits.ResNet("tanh", beta=1.5), path)
        sample = path.sample(depth=4, n_paths=2, seed=0)
        solution = limits.EulerMaruyama().solve(limit, H0, sample, keep="all")
        assert torch.equal(solution.values, H0.expand(5, 2, 1, WIDTH))


def test_inputs_in_different_regimes_are_refused() -> None:
    betas = torch.tensor([0.7, 0.9], dtype=torch.float64)
    with pytest.raises(limits.LimitsError, match=r"different regimes.*one regime at a time"):
        limits.depth_limit(limits.ResNet("tanh", beta=betas), YOUNG)


# --- the correction -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [BROWNIAN, HALF, IID, ROUGH], ids=lambda path: path.label)
@pytest.mark.parametrize("form", ["path", "law"])
def test_correction_is_refused_where_it_changes_the_limit(
    path: limits.WeightPath, form: str
) -> None:
    net = limits.ResNet("tanh", corrected=True)
    with pytest.raises(limits.NoLimitError, match=r"Leave out corrected=True"):
        limits.depth_limit(net, path, form=form)


@pytest.mark.thorough
def test_correction_does_change_the_limit_of_independent_weights() -> None:
    # Width 1, linear: (1 + X + 1/(2L)) ... tends to exp(B) instead of exp(B - 1/2).
    path = limits.BrownianPath(1)
    sample = path.sample(depth=2048, n_paths=16, seed=0)
    one = torch.ones(1, 1, dtype=torch.float64)
    motion = sample.at_depth(1).increments[0]
    plain = limits.ResNet("identity")(one, sample).terminal
    corrected = limits.ResNet("identity", corrected=True)(one, sample).terminal
    torch.testing.assert_close(plain, torch.exp(motion - 0.5), rtol=0.1, atol=0)
    torch.testing.assert_close(corrected, torch.exp(motion), rtol=0.1, atol=0)


@pytest.mark.thorough
def test_correction_does_change_the_limit_below_one_half() -> None:
    # The correction undoes the very drift that the correlations leave, contraction included.
    path = limits.FractionalPath(4, hurst=0.1)
    sample = path.sample(depth=1024, n_paths=256, seed=0)
    h0 = torch.ones(1, 4, dtype=torch.float64)
    corrected = limits.ResNet("identity", corrected=True)(h0, sample).terminal.mean(dim=(0, 1))
    plain = limits.ResNet("identity")(h0, sample).terminal.mean(dim=(0, 1))
    torch.testing.assert_close(corrected, h0[0], rtol=0, atol=0.03)
    torch.testing.assert_close(plain, h0[0] * math.exp(-1 / 8), rtol=0, atol=0.03)


def test_contraction_is_not_claimed_of_a_corrected_network() -> None:
    net = limits.ResNet("identity", beta=0.4, corrected=True)
    with pytest.raises(limits.NoLimitError, match=r"Leave out corrected=True"):
        limits.depth_limit(net, limits.FractionalPath(4, hurst=0.1))


@pytest.mark.parametrize("method", ["backward", "tangent"])
def test_hand_written_derivatives_of_a_corrected_network_are_refused(method: str) -> None:
    net = limits.ResNet("tanh", corrected=True)
    sample = YOUNG.sample(depth=4, n_paths=2, seed=0)
    out = net(H0, sample, keep="all")
    calls = {
        "backward": lambda: net.backward(out, sample, out.terminal),
        "tangent": lambda: net.tangent(H0, H0, sample),
    }
    with pytest.raises(limits.LimitsError, match=r"autograd"):
        calls[method]()


def test_autograd_goes_through_a_corrected_network() -> None:
    net = limits.ResNet("tanh", corrected=True)
    sample = YOUNG.sample(depth=6, n_paths=2, seed=0)
    h0 = H0.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda h: net(h, sample).terminal, (h0,))


# --- laws that cannot be solved -----------------------------------------------------------------


def unsolvable() -> list[tuple[limits.ResNet, limits.WeightPath, str]]:
    return [
        (RES2, IID, r"no closed form for tanh.*Use BrownianPath, or relu"),
        (RES2, ROUGH, r"relu without bias only.*res-3.*or simulate"),
        (
            limits.ResNet("relu", block=limits.Inner(RES3.vector_field.activation, bias=0.5)),
            ROUGH,
            r"relu without bias only",
        ),
        (limits.ResNet("identity", block=Inward()), BROWNIAN, r"Inward is not known.*simulate"),
    ]


class Inward:
    """A block with inner weights whose mean nobody told the library."""

    has_inner = True
    homogeneous = False

    def field(self, h: Tensor, inner: object) -> Tensor:
        return torch.tanh(inner.mv(h)).square()

    def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
        raise NotImplementedError

    def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(("net", "path", "message"), unsolvable())
def test_law_without_a_known_coefficient_is_described_but_not_solved(
    net: limits.ResNet, path: limits.WeightPath, message: str
) -> None:
    limit = limits.depth_limit(net, path)
    assert (limit.kind, limit.coupling) == ("sde", "law")
    noise = limit.sample(depth=4, n_paths=2, seed=0)
    for solve in (
        lambda: limits.EulerMaruyama().solve(limit, H0, noise),
        lambda: limits.TorchSDE().solve(limit, H0, noise),
        lambda: limit.as_torchsde(noise),
    ):
        with pytest.raises(limits.NoLimitError, match=message):
            solve()


def test_young_limit_of_a_block_whose_mean_is_unknown_is_not_solved() -> None:
    # Euler's scheme with the network's own inner weights would be the network, not its limit.
    limit = limits.depth_limit(limits.ResNet("identity", block=Inward()), YOUNG)
    sample = YOUNG.sample(depth=4, n_paths=2, seed=0)
    with pytest.raises(limits.NoLimitError, match="Inward"):
        limits.EulerMaruyama().solve(limit, H0, sample)


def test_antipersistent_drift_is_known_for_blocks_without_inner_weights_only() -> None:
    assert limits.depth_limit(RES1, ROUGH).kind == "ode"
    assert limits.depth_limit(RES2, ROUGH).coupling == "law"


def test_weights_of_one_rough_trained_network_have_no_theorem() -> None:
    path = limits.TrainedPath(torch.ones(8, WIDTH, WIDTH), index=0.5)
    with pytest.raises(limits.NoLimitError, match=r"index 0\.5.*Use index=1\.0"):
        limits.depth_limit(RES1, path)


def test_joint_law_of_several_inputs_on_uniform_weights_is_refused_for_res3_only() -> None:
    two = torch.cat([H0, -2 * H0])
    limit = limits.depth_limit(RES3, IID)
    noise = limit.sample(depth=4, n_paths=2, seed=0)
    assert limits.EulerMaruyama().solve(limit, H0, noise).terminal.shape == (2, 1, WIDTH)
    with pytest.raises(limits.NoLimitError, match=r"joint limit of 2 inputs"):
        limits.EulerMaruyama().solve(limit, two, noise)
    outer = limits.depth_limit(RES1, IID)
    noise = outer.sample(depth=4, n_paths=2, seed=0)
    assert limits.EulerMaruyama().solve(outer, two, noise).terminal.shape == (2, 2, WIDTH)


# --- the wrong tool -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "path", "solver", "message"),
    [
        (RES1, YOUNG, limits.TorchSDE(), "kind 'young'"),
        (RES1, YOUNG, limits.TorchDiffEq(), "kind 'young'"),
        (RES1, ROUGH, limits.TorchSDE(), "kind 'ode'.*TorchDiffEq"),
        (RES1, BROWNIAN, limits.TorchDiffEq(), "kind 'sde'.*EulerMaruyama"),
        (RES1, YOUNG, limits.ClosedForm(), "no closed form path by path"),
        (RES1, ROUGH, limits.ClosedForm(), "no closed form path by path"),
    ],
)
def test_solver_of_another_kind_of_equation_is_refused(
    net: limits.ResNet, path: limits.WeightPath, solver: object, message: str
) -> None:
    limit = limits.depth_limit(net, path)
    sample = path.sample(depth=4, n_paths=2, seed=0)
    with pytest.raises((limits.SolverError, limits.NoLimitError), match=message):
        solver.solve(limit, H0, sample)


def test_young_limit_gives_torchsde_and_torchdiffeq_nothing() -> None:
    limit = limits.depth_limit(RES1, YOUNG)
    sample = YOUNG.sample(depth=4, n_paths=2, seed=0)
    with pytest.raises(limits.NoLimitError, match="kind 'young'"):
        limit.as_torchsde(sample)
    with pytest.raises(limits.NoLimitError, match="kind 'young'"):
        limit.as_torchdiffeq(sample)
    with pytest.raises(limits.CouplingError, match="needs a Brownian motion"):
        sample.as_torchsde()


@pytest.mark.parametrize("path", [BROWNIAN, SMOOTH, YOUNG, ROUGH], ids=lambda path: path.label)
def test_sample_of_a_path_form_is_the_weights(path: limits.WeightPath) -> None:
    limit = limits.depth_limit(RES1, path)
    drawn = limit.sample(depth=8, n_paths=3, seed=5)
    assert isinstance(drawn, limits.WeightSample)
    assert drawn.tag == path.sample(depth=8, n_paths=3, seed=5).tag


def test_sample_of_a_law_form_is_noise_of_its_own() -> None:
    limit = limits.depth_limit(RES3, BROWNIAN)
    drawn = limit.sample(depth=8, n_paths=3, seed=5)
    assert isinstance(drawn, limits.NoiseSample)
    assert drawn.tag != BROWNIAN.sample(depth=8, n_paths=3, seed=5).tag
