"""The networks analysed by Zhang et al.: against plain recursions, autograd and Jacobians."""

import math

import pytest
import torch

import limits
from limits.training.batches import epoch_order

KINDS = {"residual": (0.3, 1.0), "feed-forward": (math.sqrt(2), 0.0)}


def networks(kind="residual", n_paths=3, depth=5, dtype=torch.float64, **changes):
    tau, skip = KINDS[kind]
    settings = {"features": 6, "outputs": 2, "seed": 4, "tau": tau, "skip": skip} | changes
    return limits.AnalysedEnsemble(
        limits.BrownianPath(8), depth=depth, n_paths=n_paths, dtype=dtype, **settings
    )


def plain(weights, embedding, readout, inputs, tau, skip):
    """One draw as the paper writes it: weights ``(layer, width, width)``."""
    h = torch.relu(inputs @ embedding.T)
    for w in weights:
        h = torch.relu(skip * h + tau * h @ w.T)
    return h @ readout.T


def data(n_inputs=7):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n_inputs, 6, generator=generator, dtype=torch.float64),
        torch.randn(n_inputs, 2, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_recursion_in_the_paper(kind):
    nets, (inputs, _) = networks(kind), data()
    sample = limits.BrownianPath(8).sample(depth=5, n_paths=3, seed=4)
    assert torch.allclose(nets.weights, sample.layer_weights, atol=1e-14)
    found = nets.outputs(inputs)
    for path in range(3):
        wanted = plain(
            sample.layer_weights[:, path], nets.embedding[path], nets.readout[path], inputs,
            *KINDS[kind],
        )  # fmt: skip
        assert torch.allclose(found[path], wanted, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_autograd(kind):
    nets, (inputs, targets) = networks(kind), data()
    before = nets.weights
    nets.descend(nets.outputs(inputs) - targets, rate=0.05)
    for path in range(3):
        weights = before[:, path].clone().requires_grad_()
        outputs = plain(weights, nets.embedding[path], nets.readout[path], inputs, *KINDS[kind])
        ((outputs - targets).square().sum() / 2).backward()
        wanted = before[:, path] - 0.05 * weights.grad
        assert torch.allclose(nets.weights[:, path], wanted, atol=1e-12)
        assert float(weights.grad.abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_tangent_kernel_is_the_gram_matrix_of_the_jacobian(kind):
    nets, (inputs, _) = networks(kind), data(4)
    found = nets.tangent_kernel(inputs)
    assert found.shape == (3, 8, 8)
    for path in range(3):

        def outputs(weights, path=path):
            return plain(weights, nets.embedding[path], nets.readout[path], inputs, *KINDS[kind])

        jacobian = torch.autograd.functional.jacobian(outputs, nets.weights[:, path])
        rows = jacobian.reshape(8, -1)
        assert torch.allclose(found[path], rows @ rows.T, atol=1e-11)


def test_a_small_step_shrinks_errors_by_the_tangent_kernel():
    nets, (inputs, targets) = networks(), data(4)
    kernel = nets.tangent_kernel(inputs)
    before = nets.outputs(inputs) - targets
    rate = 1e-6
    nets.descend(before, rate=rate)
    change = (nets.outputs(inputs) - targets - before).flatten(1) / rate
    wanted = -torch.bmm(kernel, before.flatten(1).unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(change, wanted, rtol=1e-3, atol=1e-3)


def test_draws_do_not_depend_on_how_many_there_are():
    inputs, targets = data()
    few, many = networks(n_paths=2), networks(n_paths=20)
    for nets in (few, many):
        limits.descend_squares(nets, inputs, targets, rate=0.01, steps=3)
    assert torch.allclose(few.weights, many.weights[:, :2], atol=1e-13)


def test_frozen_layers_have_the_variances_of_the_paper():
    # Standard errors of the two variances: 0.4 % and 1.1 %.
    nets = limits.AnalysedEnsemble(
        limits.BrownianPath(128), depth=1, n_paths=16, seed=0, features=64, outputs=8, tau=1.0
    )
    assert float(nets.embedding.square().mean()) == pytest.approx(2 / 128, rel=0.012)
    assert float(nets.readout.square().mean()) == pytest.approx(1 / 8, rel=0.033)


def test_training_is_stochastic_gradient_descent_on_the_same_batches():
    digits = limits.data.unit_rows(limits.data.digits())
    nets = networks(features=64, outputs=10, n_paths=2)
    begun = nets.weights
    losses = limits.train_analysed(nets, digits, rate=0.1, batch=300, epochs=2, seed=3)
    weights, seen = begun[:, 1].clone().requires_grad_(), []
    optimiser = torch.optim.SGD([weights], lr=0.1)
    for epoch in range(2):
        for rows in epoch_order(1438, seed=3, epoch=epoch, path=1).split(300):
            outputs = plain(
                weights, nets.embedding[1], nets.readout[1], digits.train_inputs[rows].double(),
                *KINDS["residual"],
            )  # fmt: skip
            loss = torch.nn.functional.cross_entropy(outputs, digits.train_classes[rows])
            seen.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert torch.allclose(nets.weights[:, 1], weights.detach(), atol=1e-12)
    wanted = torch.tensor(seen, dtype=torch.float64).view(2, 5).mean(dim=1)
    assert torch.allclose(losses[1], wanted, atol=1e-12)


def test_a_draw_that_diverges_is_left_and_the_others_do_not_notice():
    inputs, targets = data()
    first = networks().outputs(inputs) - targets
    squares = first.square().sum(dim=(1, 2)) / 2
    limit = float(squares.sort().values[1:].mean())
    losses = limits.descend_squares(
        networks(), inputs, targets, rate=1e-3, steps=4, explosion=limit
    )
    free = limits.descend_squares(networks(), inputs, targets, rate=1e-3, steps=4)
    worst = int(squares.argmax())
    assert torch.isnan(losses[worst]).all()
    others = [path for path in range(3) if path != worst]
    assert torch.equal(losses[others], free[others])


def test_gradient_descent_finds_a_minimum_at_the_rate_of_the_kernel():
    # Over 8 seeds: ratio of the rates 1.06 to 1.33, remaining share of the loss up to 0.006.
    generator = torch.Generator().manual_seed(1)
    inputs = torch.nn.functional.normalize(torch.randn(8, 32, generator=generator))
    targets = torch.randn(8, 1, generator=generator).sign()
    nets = limits.AnalysedEnsemble(
        limits.BrownianPath(128), depth=8, n_paths=8, seed=7, features=32, outputs=1, tau=8**-0.5
    )
    smallest = torch.linalg.eigvalsh(nets.tangent_kernel(inputs).double())[:, 0]
    losses = limits.descend_squares(nets, inputs, targets, rate=4e-4, steps=150)
    rates = (losses[:, 75] / losses[:, -1]).log() / 75
    assert float((losses[:, -1] / losses[:, 0]).max()) < 0.01
    assert 1 < float((rates / (2 * 4e-4 * smallest)).mean()) < 1.4


def test_small_steps_are_not_lost_in_single_precision():
    """At tau = 1/256 the steps of a weight are far below the rounding of 1.

    Over 8 seeds the moves in float32 were off by up to 3.6e-5 of their size, on the diagonal by up
    to 4.0e-5. If s I + tau W is held instead of W, by 0.3 to 1.1 % and 0.6 to 3.3 %.
    """
    inputs, targets = data()
    moves = []
    for dtype in (torch.float64, torch.float32):
        nets = networks(tau=1 / 256, depth=16, dtype=dtype)
        before = nets.weights.double()
        limits.descend_squares(nets, inputs, targets, rate=0.02, steps=60)
        moves.append(nets.weights.double() - before)
    diagonals = [each.diagonal(dim1=-2, dim2=-1) for each in moves]
    for exact, single in (moves, diagonals):
        assert float((single - exact).norm() / exact.norm()) < 2e-4


def test_bad_input_is_answered_with_a_remedy():
    with pytest.raises(limits.LimitsError, match=r"tau=depth\*\*-0\.5"):
        networks(tau=-1.0)
    with pytest.raises(limits.LimitsError, match="Call outputs"):
        networks().descend(torch.zeros(3, 7, 2), rate=0.1)
    with pytest.raises(limits.ShapeError, match=r"\(input, 6\)"):
        networks().outputs(torch.zeros(4, 5))
    with pytest.raises(limits.ShapeError, match=r"\(7, 2\).*found \(7, 1\)"):
        limits.descend_squares(networks(), data()[0], torch.zeros(7, 1), rate=0.1, steps=1)
    with pytest.raises(limits.ShapeError, match="channels=1"):
        limits.data.standardised(limits.data.digits(), channels=3)
