"""The theorem table: which limit a network has, in which sense, and at what rate."""

import dataclasses

import pytest
import torch

import limits
from tests.helpers import normal_inputs

NETS = {
    "res-1": {"activation": "tanh", "block": "res-1"},
    "res-3": {"activation": "relu", "block": "res-3"},
}
PATHS = {
    "brownian": limits.BrownianPath(4),
    "uniform": limits.IIDPath(4, law="uniform"),
    "rademacher": limits.IIDPath(4, law="rademacher"),
    "rbf": limits.SmoothPath(4),
    "rbf-derivative": limits.SmoothPath(4, kernel="rbf-derivative"),
    "matern": limits.SmoothPath(4, kernel="matern-5/2"),
}
SMOOTH = ("rbf", "rbf-derivative", "matern")
STRONG_SDE = ("sde", "strong", "path", 0.5)
WEAK_SDE = ("sde", "law", "law", 1.0)
ODE = ("ode", "strong", "path", 1.0)


def row(limit: limits.DepthLimit) -> tuple[str, str, str, float | None]:
    return limit.kind, limit.coupling, limit.form, limit.order


def expected_row(path: str, block: str, form: str) -> tuple[str, str, str, float | None]:
    if path in SMOOTH:
        return ODE
    return STRONG_SDE if (path, block, form) == ("brownian", "res-1", "path") else WEAK_SDE


@pytest.mark.parametrize("given", ["left out", "number", "tensor", "per input"])
@pytest.mark.parametrize("form", ["path", "law"])
@pytest.mark.parametrize("block", NETS)
@pytest.mark.parametrize("name", PATHS)
def test_at_the_critical_exponent_the_table_gives_kind_coupling_form_and_order(
    name: str, block: str, form: str, given: str
) -> None:
    path = PATHS[name]
    critical = 1.0 if name in SMOOTH else 0.5
    beta = {
        "left out": None,
        "number": critical,
        "tensor": torch.tensor(critical),
        "per input": torch.tensor([critical, critical]),
    }[given]
    net = limits.ResNet(**NETS[block], beta=beta)
    limit = limits.depth_limit(net, path, form=form)
    assert row(limit) == expected_row(name, block, form)
    assert limit.net is net
    assert limit.path is path


@pytest.mark.parametrize("per_input", [False, True])
@pytest.mark.parametrize("form", ["path", "law"])
@pytest.mark.parametrize("block", NETS)
@pytest.mark.parametrize("name", PATHS)
def test_away_from_the_critical_exponent_depth_explodes_or_does_nothing(
    name: str, block: str, form: str, per_input: bool
) -> None:
    critical = PATHS[name].critical_beta
    for shift, kind in ((-0.25, "explosion"), (0.25, "identity")):
        beta = torch.tensor([critical + shift, critical + 2 * shift])
        net = limits.ResNet(**NETS[block], beta=beta if per_input else float(beta[0]))
        limit = limits.depth_limit(net, PATHS[name], form=form)
        assert row(limit) == (kind, "strong", "path", None)


def test_the_border_between_regimes_is_as_wide_as_rounding_and_no_wider() -> None:
    path = limits.BrownianPath(4)

    def kind(beta: float) -> str:
        return limits.depth_limit(limits.ResNet("tanh", beta=beta), path).kind

    assert kind(0.5 + 1e-12) == kind(0.5) == kind(0.5 - 1e-12) == "sde"
    assert kind(0.5 + 1e-6) == "identity"
    assert kind(0.5 - 1e-6) == "explosion"


def test_inputs_in_different_regimes_have_no_common_limit() -> None:
    net = limits.ResNet("tanh", beta=torch.tensor([0.25, 0.5, 1.0]))
    with pytest.raises(limits.LimitsError, match="one regime at a time"):
        limits.depth_limit(net, limits.BrownianPath(4))


@pytest.mark.parametrize("name", ["uniform", "rademacher"])
def test_where_only_laws_converge_the_law_form_comes_whatever_was_asked(name: str) -> None:
    asked = limits.depth_limit(limits.ResNet("tanh"), PATHS[name], form="path")
    law = limits.depth_limit(limits.ResNet("tanh"), PATHS[name], form="law")
    assert asked.form == law.form == "law"
    assert asked.theorem == law.theorem


def test_each_limit_states_its_equation_and_where_it_is_proved() -> None:
    for name, path in PATHS.items():
        for block, settings in NETS.items():
            limit = limits.depth_limit(limits.ResNet(**settings), path)
            assert limit.equation.startswith("dH = ")
            assert limit.equation.endswith(" dt") == (name in SMOOTH)
            assert ("W_t" in limit.equation) == (name in SMOOTH and block == "res-3")
            assert "Marion" in limit.theorem.source


def test_a_limit_cannot_be_changed_after_it_was_made() -> None:
    limit = limits.depth_limit(limits.ResNet("tanh"), limits.BrownianPath(4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        limit.path = limits.BrownianPath(5)


def test_a_path_form_draws_weights_and_a_law_form_draws_noise() -> None:
    net = limits.ResNet("tanh")
    path = limits.depth_limit(net, limits.BrownianPath(4))
    law = limits.depth_limit(net, limits.BrownianPath(4), form="law")
    weights = path.sample(depth=8, n_paths=16, seed=3)
    noise = law.sample(depth=8, n_paths=16, seed=3)
    assert isinstance(weights, limits.WeightSample)
    assert isinstance(noise, limits.NoiseSample)
    assert weights.tag == limits.BrownianPath(4).sample(depth=8, n_paths=16, seed=3).tag
    assert weights.tag != noise.tag


def test_noise_of_a_law_form_is_standard_and_is_read_coarser_by_summing() -> None:
    limit = limits.depth_limit(limits.ResNet("tanh"), limits.BrownianPath(4), form="law")
    noise = limit.sample(depth=12, n_paths=2048, seed=0)
    fine = noise.increments(n_inputs=2)
    assert fine.shape == (12, 2048, 2, 4)
    coarse = noise.at_depth(3).increments(n_inputs=2)
    torch.testing.assert_close(coarse, fine.unflatten(0, (3, 4)).sum(1), rtol=0, atol=1e-12)
    assert noise.at_depth(3).tag == noise.tag
    # 196,608 entries: 12 * variance has a standard error of sqrt(2 / n) = 0.0032, the covariance
    # one of 0.0032 as well. Over eight seeds they lay in [0.9930, 1.0043] and [-0.0060, 0.0052].
    assert float(fine.var() * 12) == pytest.approx(1, abs=0.013)
    assert abs(float((fine[:, :, 0] * fine[:, :, 1]).mean() * 12)) < 0.013


def test_the_first_paths_and_inputs_of_the_noise_do_not_depend_on_how_many_follow() -> None:
    limit = limits.depth_limit(limits.ResNet("relu", block="res-3"), limits.BrownianPath(3))
    few = limit.sample(depth=40, n_paths=16, seed=1).increments(n_inputs=1)
    many = limit.sample(depth=40, n_paths=50, seed=1).increments(n_inputs=3)
    assert torch.equal(many[:, :16, :1], few)


def test_the_identity_solves_to_the_input_with_every_solver() -> None:
    h0 = normal_inputs(2, 4)
    for path, solvers in (
        (limits.BrownianPath(4), (limits.EulerMaruyama(), limits.TorchSDE())),
        (limits.SmoothPath(4), (limits.EulerMaruyama(), limits.TorchDiffEq())),
    ):
        limit = limits.depth_limit(limits.ResNet("tanh", beta=1.5), path)
        sample = limit.sample(depth=8, n_paths=16, seed=0)
        for solver in solvers:
            out = solver.solve(limit, h0, sample, keep="all")
            assert out.values.shape == (9, 16, 2, 4)
            assert torch.equal(out.values, h0.expand(9, 16, 2, 4))
            assert out.tag == sample.tag


def test_a_network_above_the_critical_exponent_goes_to_its_identity_limit() -> None:
    # The linear network has E|h_L - h_0|^2 / |h_0|^2 = (1 + L^(-2 beta))^L - 1 ~ 1/L at beta = 1:
    # order beta - 1/2 = 1/2.
    h0 = normal_inputs(1, 8)
    study = limits.convergence_study(
        limits.ResNet("identity", beta=1.0),
        limits.BrownianPath(8),
        depths=(8, 16, 32, 64, 128),
        n_paths=512,
        seed=0,
        h0=h0,
    )
    assert study.expected_order == pytest.approx(0.5)
    assert study.reference == "input"
    # The exact errors have slope 0.5085 on these depths. Over eight seeds the order lay in
    # [0.506, 0.512] and the interval was at most 0.006 wide.
    assert study.order.agrees_with(0.5)
    for depth, errors in zip(study.depths, study.path_errors, strict=True):
        square = torch.from_numpy(errors) ** 2
        exact = float(h0.square().sum()) * ((1 + depth**-2.0) ** depth - 1)
        assert abs(float(square.mean()) - exact) < 4 * float(square.std()) / 512**0.5
