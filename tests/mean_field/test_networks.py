"""Mean-field networks: gradients against autograd, conventions, bookkeeping, messages."""

import math

import numpy as np
import pytest
import torch

import limits
from limits.gaussian import hermite
from tests.helpers import normal_inputs, relative_difference


def data(width: int = 5, n_inputs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = normal_inputs(2, n_inputs, width, seed=3)
    return x, y


def literal_descent(net, x, y, weights, *, steps, rate, eta):
    """The network and its gradient descent, a neuron at a time of paper and autograd's gradients.

    `rate` multiplies both gradients, `eta` the pair (u, v).
    """
    u, v = weights.u.clone().requires_grad_(), weights.v.clone().requires_grad_()
    depth, _, width, neurons = u.shape
    s, alpha = net.activation.value, net.scaling.residual_alpha
    outputs = []
    for _ in range(steps + 1):
        h = x.expand(u.shape[1], -1, -1) if weights.embedding is None else x @ weights.embedding
        for layer in range(depth):
            p = torch.einsum("pni,pim->pnm", h, u[layer]) / width
            h = h + alpha / (depth * neurons) * torch.einsum("pim,pnm->pni", v[layer], s(p))
        out = h if weights.readout is None else h @ weights.readout / width
        outputs.append(out.detach())
        # Where there are embeddings the loss is divided by the inputs alone.
        divisor = 2 * len(x) * (width if weights.readout is None else 1)
        loss = ((out - y) ** 2).sum() / divisor
        grad_u, grad_v = torch.autograd.grad(loss, (u, v))
        with torch.no_grad():
            u -= eta[0] * rate * grad_u
            v -= eta[1] * rate * grad_v
    return outputs, u.detach(), v.detach()


@pytest.mark.parametrize("activation", ["tanh", "gelu", torch.sin])
@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_descent_is_gradient_descent_with_the_raw_rate_of_the_mean_field(activation, alpha):
    net = limits.MeanFieldResNet(5, 7, depth=6, activation=activation, alpha=alpha, eta_u=0.5)
    weights = net.sample(n_paths=3, seed=0)
    x, y = data()
    out = net.descend(x, y, weights, steps=3, learning_rate=0.7, keep=(0, 1, 2, 3))
    raw = 0.7 * 6 * 7 / alpha**2
    expected, u, v = literal_descent(net, x, y, weights, steps=3, rate=raw, eta=(2.5, 5.0))
    # One more update stands in the literal loop than in the weights of the last kept step.
    more = net.descend(x, y, weights, steps=4, learning_rate=0.7)
    for step in range(4):
        assert relative_difference(out.at(step), expected[step]) < 1e-12
    assert relative_difference(more.weights.u, u) < 1e-12
    assert relative_difference(more.weights.v, v) < 1e-12
    assert float((out.weights.u - weights.u).abs().max()) > 0.01


def test_descent_with_frozen_embeddings_is_gradient_descent_too():
    net = limits.MeanFieldResNet(9, 7, depth=4, features=3, outputs=2)
    weights = net.sample(n_paths=3, seed=1)
    x, y = normal_inputs(6, 3), normal_inputs(6, 2, seed=1)
    out = net.descend(x, y, weights, steps=2, keep=(0, 2))
    # Their loss is |y - f|^2 / 2 a sample and rates are in units of D^2 for a gradient of order
    # 1 / D; h^0, and so the gradient, is of order one.
    expected, _, _ = literal_descent(net, x, y, weights, steps=2, rate=4 * 7, eta=(9.0, 9.0))
    assert relative_difference(out.at(0), expected[0]) < 1e-12
    assert relative_difference(out.at(2), expected[2]) < 1e-12


def test_backward_and_the_kept_states_agree_with_autograd():
    net = limits.MeanFieldResNet(5, 7, depth=6, alpha=4.0)
    weights = net.sample(n_paths=3, seed=0)
    x = data()[0].requires_grad_()
    out = net(x, weights, keep="all")
    assert out.values.shape == (7, 3, 4, 5)
    assert out.times[-1] == 1
    cotangent = normal_inputs(3, 4, 5, seed=9)
    b = net.backward(out, weights, cotangent)
    (expected,) = torch.autograd.grad((out.terminal * cotangent).sum(), x)
    assert relative_difference(b.values[0].sum(dim=0), expected) < 1e-12
    assert bool((net(x, weights).terminal == out.terminal).all())


def test_both_conventions_of_alpha_are_one_network_in_other_units():
    x, y = data()
    for alpha in (0.3, 4.0):
        ours = limits.MeanFieldResNet(5, 7, depth=6, alpha=alpha, eta_u=min(alpha**2, 1.0))
        theirs = limits.MeanFieldResNet(5, 7, depth=6, alpha=alpha, convention="initialisation")
        outs = [net.descend(x, y, net.sample(n_paths=2, seed=0), steps=5) for net in (ours, theirs)]
        assert relative_difference(outs[0].at(5), outs[1].at(5)) < 1e-12
        assert relative_difference(alpha * outs[0].weights.v, outs[1].weights.v) < 1e-12
        assert ours.residual_scale == theirs.residual_scale == alpha * math.sqrt(5) / 42


def test_repetitions_do_not_depend_on_each_other_and_draws_are_nested():
    big = limits.MeanFieldResNet(5, 9, depth=8)
    small = limits.MeanFieldResNet(5, 9, depth=3)
    many, few = big.sample(n_paths=20, seed=2), small.sample(n_paths=3, seed=2)
    assert bool((many.u[:3, :3] == few.u).all())
    assert bool((many.v[:3, :3] == few.v).all())
    x, y = data()
    alone = big.descend(x, y, big.sample(n_paths=3, seed=2), steps=4).at(4)
    together = big.descend(x, y, many, steps=4).at(4)[:3]
    assert relative_difference(alone, together) < 1e-13
    other = big.sample(n_paths=3, seed=3)
    assert float((many.u[:, :3] - other.u).abs().min()) > 0
    # u and v of a neuron, and neurons of consecutive layers, are independent.
    wide = limits.MeanFieldResNet(10, 1000, depth=2).sample(n_paths=16, seed=0)
    assert abs(float((wide.u * wide.v).mean()) / 10) < 4 / math.sqrt(wide.u.numel())
    assert abs(float((wide.u[0] * wide.u[1]).mean()) / 10) < 4 / math.sqrt(wide.u[0].numel())
    assert float(wide.u.std()) == pytest.approx(math.sqrt(10), rel=0.01)


def test_descent_in_two_parts_is_descent_in_one():
    net = limits.MeanFieldResNet(5, 7, depth=6)
    weights = net.sample(n_paths=3, seed=0)
    before = weights.u.clone()
    x, y = data()
    whole = net.descend(x, y, weights, steps=7, track=(0, 5))
    assert bool((weights.u == before).all())
    half = net.descend(x, y, weights, steps=3, track=(0, 5))
    rest = net.descend(x, y, half.weights, steps=4, in_place=True, track=(0, 5))
    assert bool((whole.at(7) == rest.at(4)).all())
    assert rest.weights.u.data_ptr() == half.weights.u.data_ptr()
    assert whole.losses.shape == (8, 3)
    assert bool((whole.losses[3:] == rest.losses).all())
    assert whole.tracked.shape == (8, 2, 3, 2, 5)
    assert bool((whole.tracked[0, 1, :, 1] == weights.v[5, :, :, 0]).all())
    assert bool((whole.tracked[-1, 0, :, 0] == whole.weights.u[0, :, :, 0]).all())


def test_descent_fits_and_float32_agrees_with_float64():
    net = limits.MeanFieldResNet(5, 32, depth=16)
    x, y = data()
    out = net.descend(x, y, net.sample(n_paths=2, seed=0), steps=40)
    assert bool((out.losses[-1] < 0.2 * out.losses[0]).all())
    weights = net.sample(n_paths=2, seed=0, dtype=torch.float32)
    short = net.descend(x.float(), y.float(), weights, steps=40)
    assert relative_difference(short.at(40).double(), out.at(40)) < 1e-4


def test_orthogonal_embeddings_are_orthogonal_and_of_the_norm_of_gaussian_ones():
    net = limits.MeanFieldResNet(
        12, 2, depth=2, features=3, outputs=2, embeddings="orthogonal"
    )  # fmt: skip
    weights = net.sample(n_paths=4, seed=0)
    columns = torch.cat([weights.embedding.mT, weights.readout], dim=-1)
    gram = columns.mT @ columns / 12
    np.testing.assert_allclose(gram, torch.eye(5).expand(4, 5, 5), atol=1e-12)
    assert net.read(net(torch.eye(3).double(), weights).terminal, weights).shape == (4, 3, 2)


def test_draws_with_other_embeddings_have_other_names():
    shapes = ({}, {"features": 3, "outputs": 2}, {"features": 3, "outputs": 1})
    kinds = [limits.MeanFieldResNet(12, 2, depth=2, **shape) for shape in shapes]
    kinds.append(
        limits.MeanFieldResNet(12, 2, depth=2, features=3, outputs=1, embeddings="orthogonal")
    )
    assert len({net.sample(n_paths=1, seed=0).tag for net in kinds}) == len(kinds)


def test_initial_fluctuation_is_the_exact_one():
    # The output is x plus a mean of L M independent v tanh(u.h / D), up to 1 / L.
    net = limits.MeanFieldResNet(10, 64, depth=16)
    x = normal_inputs(10, 10)
    out = net(x, net.sample(n_paths=400, seed=0)).terminal - x
    nodes, weights = hermite(torch.float64, torch.device("cpu"))
    spread = x.square().mean(dim=1).sqrt().unsqueeze(-1)
    second = (torch.tanh(spread * nodes) ** 2 * weights).sum(dim=1)
    exact = (10 * second / (64 * 16)).sqrt().mean()
    assert float(out.square().mean().sqrt()) == pytest.approx(float(exact), rel=0.03)


def test_wrong_requests_say_what_to_do():
    net = limits.MeanFieldResNet(5, 7, depth=6)
    weights = net.sample(n_paths=3, seed=0)
    x, y = data()
    with pytest.raises(limits.ShapeError, match="Transpose data"):
        net(x.T, weights)
    with pytest.raises(limits.ShapeError, match="Pass 3, or one that all share"):
        net(x.expand(2, -1, -1), weights)
    with pytest.raises(limits.DTypeError, match=r"x\.to\(weights"):
        net(x.float(), weights)
    with pytest.raises(limits.ShapeError, match="one per input"):
        net.descend(x, y[:2], weights, steps=1)
    with pytest.raises(limits.ShapeError, match=r"Use net\.sample"):
        limits.MeanFieldResNet(5, 7, depth=5)(x, weights)
    with pytest.raises(limits.ShapeError, match=r"keep=\(0, 3\)"):
        net.descend(x, y, weights, steps=3, keep=(0, 4))
    with pytest.raises(limits.LimitsError, match="not kept"):
        net.descend(x, y, weights, steps=3).at(1)
    with pytest.raises(limits.LimitsError, match="Pass both"):
        limits.MeanFieldResNet(5, 7, depth=5, features=3)
    with pytest.raises(limits.LimitsError, match="embedding_dim >= 6"):
        limits.MeanFieldResNet(5, 7, depth=5, features=3, outputs=3, embeddings="orthogonal")
    with pytest.raises(limits.LimitsError, match="alpha must be"):
        limits.MeanFieldResNet(5, 7, depth=5, alpha=0.0)
    with pytest.raises(limits.NonFiniteStateError, match="Lower learning_rate"):
        net.descend(x, y, weights, steps=60, learning_rate=1e8)
    kept = net.descend(x, y, weights, steps=60, learning_rate=1e8, nonfinite="keep")
    assert not bool(torch.isfinite(kept.losses[-1]).all())
    with pytest.raises(limits.ShapeError, match='keep="all"'):
        net.backward(net(x, weights), weights, net(x, weights).terminal)
