"""The Mean ODE: collocation, particles, exact cases, its own error, finite networks."""

import numpy as np
import pytest
import torch

import limits
from limits.mean_field.mean_ode.collocation import gauss_collocation
from limits.mean_field.mean_ode.sobol import scrambled_particles
from limits.randomness import Stream
from tests.helpers import normal_inputs, relative_difference


def rms(difference: torch.Tensor) -> float:
    return float(difference.square().mean().sqrt())


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_collocation_integrates_polynomials_exactly(count):
    scheme = gauss_collocation(count)
    for power in range(2 * count):
        found = float(scheme.weights @ scheme.nodes**power)
        assert found == pytest.approx(1 / (power + 1), rel=1e-12)
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    for power in range(count):
        for points, matrix in ((scheme.nodes, scheme.matrix), (times, scheme.integrals(times))):
            found = matrix @ scheme.nodes**power
            np.testing.assert_allclose(found, points ** (power + 1) / (power + 1), atol=1e-13)


def test_scrambled_sets_are_gaussian_balanced_and_independent():
    sets = [
        scrambled_particles(Stream(0, "t"), i, width=3, particles=2048, spreads=(1.0, 2.0))
        for i in range(40)
    ]
    u, v = (torch.stack([each[i] for each in sets]) for i in (0, 1))
    assert float(v.mean(dim=2).abs().max()) < 1e-15
    assert bool(torch.isfinite(u).all())
    # The spread of a second moment over sets is far below that of independent draws.
    second = u.square().mean(dim=2)
    assert float(second.mean()) == pytest.approx(1, abs=1e-3)
    assert float(second.std()) < 0.2 * (2 / 1024) ** 0.5
    assert float((v / 2).square().mean()) == pytest.approx(1, abs=1e-3)
    # Sets are scrambled independently: the same point lies elsewhere in each.
    first = u[:, 0, 0]
    assert float(first.std()) == pytest.approx(1, abs=0.4)
    again = scrambled_particles(Stream(0, "t"), 7, width=3, particles=2048, spreads=(1.0, 2.0))
    assert bool((again[0] == sets[7][0]).all())


def test_step_zero_is_exactly_the_identity():
    x, y = normal_inputs(2, 4, 5)
    solver = limits.ParticleTransport(particles=64, nodes=3, replicates=2)
    solution = solver.solve(limits.MeanODE(5), x, y, steps=0, seed=0)
    assert rms(solution.at(0) - x) < 1e-15
    assert float(solution.losses[0]) == pytest.approx(rms(x - y) ** 2, rel=1e-12)


def test_the_standard_error_is_the_spread_of_the_mean_of_the_replicates():
    solver = limits.ParticleTransport(particles=64, nodes=2, replicates=5)
    solution = solver.solve(limits.MeanODE(3), *normal_inputs(2, 4, 3), steps=1, seed=0)
    runs = solution.replicates[0]
    variance = (runs - runs.mean(dim=0)).square().sum(dim=0) / 4
    expected = float((variance.mean() / 5).sqrt())
    assert float(solution.standard_errors[0]) == pytest.approx(expected, rel=1e-10)
    assert solution.error_at(1) > 2 * expected


def literal_network(x, y, weights, *, depth, steps):
    """Explicit Euler in s with the particles of `weights` at every layer: all share one set."""
    u0, v0 = weights
    net = limits.MeanFieldResNet(x.shape[1], u0.shape[1], depth=depth)
    stacked = limits.MeanFieldWeights(
        u0.expand(depth, 1, -1, -1).clone(), v0.expand(depth, 1, -1, -1).clone(), None, None, "t"
    )
    return net.descend(x, y, stacked, steps=steps).at(steps)[0]


def test_collocation_is_the_limit_in_depth_of_networks_with_the_same_particles():
    # One set of particles at all depths: no noise, only depth. Extrapolated networks agree.
    from limits.mean_field.mean_ode.solver import _Task

    torch.set_num_threads(1)
    x, y = normal_inputs(2, 4, 5, seed=3)
    particles = scrambled_particles(Stream(0, "t"), 0, width=5, particles=64, spreads=(5**0.5,) * 2)
    limit = limits.MeanODE(5)
    task = _Task(limit, x, y, limit.scaling.rule(1.0), 8)
    nodes = [tuple(each.unsqueeze(0) for each in particles)] * 8
    exact = task.run(gauss_collocation(8), nodes, (8,), 1e-11).kept[0, 0]
    nets = [literal_network(x, y, particles, depth=depth, steps=8) for depth in (64, 128, 256)]
    errors = [rms(net - exact) for net in nets]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.05)
    once = [2 * nets[1] - nets[0], 2 * nets[2] - nets[1]]
    twice = (4 * once[1] - once[0]) / 3
    # What two extrapolations leave is of third order.
    assert rms(twice - exact) < 1e-5 < 5e-4 < errors[2]
    coarse = task.run(gauss_collocation(2), nodes[:2], (8,), 1e-11).kept[0, 0]
    assert 1e-7 < rms(coarse - exact) < 1e-2


def test_the_mean_ode_is_what_wide_deep_networks_tend_to():
    x, y = normal_inputs(2, 10, 10, seed=1)
    net = limits.MeanFieldResNet(10, 100, depth=100)
    solution = limits.ParticleTransport(particles=2048, nodes=4, tolerance=1e-4).solve(
        limits.MeanODE.of(net), x, y, steps=10, seed=0, keep=(1, 10)
    )
    out = net.descend(x, y, net.sample(n_paths=6, seed=0), steps=10, keep=(1, 10))
    for step, constant in ((1, 0.5), (10, 0.375)):
        mean = out.at(step).mean(dim=0) - solution.at(step)
        noise = constant * (10 / 100**2) ** 0.5
        single = rms(out.at(step) - solution.at(step))
        assert 0.7 * noise < single < 1.3 * noise
        # Averaging leaves noise / sqrt(6), the networks' bias and the solution's error.
        assert rms(mean) < 0.6 * noise


def test_solution_with_embeddings_is_the_limit_of_networks_with_the_same_embeddings():
    x, y = normal_inputs(6, 3), normal_inputs(6, 2, seed=1)
    net = limits.MeanFieldResNet(8, 200, depth=100, features=3, outputs=2, activation="gelu")
    weights = net.sample(n_paths=2, seed=0)
    limit = limits.MeanODE.of(net, weights, path=1)
    solver = limits.ParticleTransport(particles=1024, nodes=4, replicates=4, tolerance=1e-4)
    solution = solver.solve(limit, x, y, steps=5, seed=0, learning_rate=0.5)
    out = net.descend(x, y, weights, steps=5, learning_rate=0.5)
    moved = rms(out.at(5)[1] - limit.read(limit.start(x)))
    assert rms(out.at(5)[1] - solution.at(5)) < 0.03 < 0.3 < moved
    assert rms(out.at(5)[0] - solution.at(5)) > 0.3


def test_a_neuron_of_a_network_follows_the_limit_particle_from_the_same_start():
    x, y = normal_inputs(2, 5, 5, seed=1)
    net = limits.MeanFieldResNet(5, 200, depth=100)
    weights = net.sample(n_paths=1, seed=0)
    layers = (0, 49, 99)
    out = net.descend(x, y, weights, steps=10, track=layers)
    solver = limits.ParticleTransport(particles=1024, nodes=4, tolerance=1e-4)
    solution = solver.solve(limits.MeanODE(5), x, y, steps=10, seed=0, keep_states=True)
    chosen = list(layers)
    times = (torch.tensor(chosen) + 0.5) / 100
    way = solution.transport(weights.u[chosen, 0, :, 0], weights.v[chosen, 0, :, 0], times)
    assert way.shape == (11, 3, 2, 5)
    distance = rms(way[-1] - out.tracked[-1, :, 0])
    assert distance < 0.05 * rms(way[-1] - way[0])
    ends = solution.states(10, torch.tensor([0.0, 1.0]))
    assert rms(ends[0] - x) == 0
    assert relative_difference(ends[1], solution.at(10)) < 1e-3
    gradient = solution.gradients(10, torch.tensor([1.0]))[0]
    assert relative_difference(gradient, (ends[1] - y) / 25) < 1e-12


@pytest.mark.thorough
def test_the_stated_error_is_true_in_seventeen_of_twenty_cases():
    inside = 0
    ratios = []
    for case in range(20):
        width, steps = (4, 6)[case % 2], (1, 3, 8)[case % 3]
        x, y = normal_inputs(2, 5, width, seed=case)
        limit = limits.MeanODE(width, alpha=(0.5, 1.0, 2.0)[case // 7])
        coarse = limits.ParticleTransport(
            particles=128, nodes=2 + case % 3, replicates=4, tolerance=1e-5
        )
        fine = limits.ParticleTransport(particles=1024, nodes=6, replicates=4, tolerance=1e-5)
        rough, refined = (
            solver.solve(limit, x, y, steps=steps, seed=case + shift)
            for solver, shift in ((coarse, 0), (fine, 100))
        )
        ratios.append(rms(rough.at(steps) - refined.at(steps)) / rough.error_at(steps))
        inside += ratios[-1] <= 1
        assert refined.error_at(steps) < 0.5 * rough.error_at(steps)
    assert inside >= 17
    # An error that is stated far too large would be true as well.
    assert np.median(ratios) > 0.2


def test_where_nodes_are_too_few_the_stated_error_is_that_of_depth():
    x, y = normal_inputs(2, 4, 4)
    limit = limits.MeanODE(4, alpha=2.0)
    rough, fine = (
        limits.ParticleTransport(particles=2048, nodes=nodes, replicates=4).solve(
            limit, x, y, steps=3, seed=0
        )
        for nodes in (1, 6)
    )
    # 0.076, of which two standard errors of the particles are 0.007.
    gap = rms(rough.at(3) - fine.at(3))
    assert 4 * 2 * float(rough.standard_errors[-1]) < gap
    assert 0.7 * rough.error_at(3) < gap < rough.error_at(3)


def test_numbers_depend_on_the_seed_alone_and_replicates_differ():
    x, y = normal_inputs(2, 4, 5)
    solver = limits.ParticleTransport(particles=64, nodes=3, replicates=3)
    first, again, other = (
        solver.solve(limits.MeanODE(5), x, y, steps=2, seed=seed) for seed in (1, 1, 2)
    )
    assert bool((first.replicates == again.replicates).all())
    assert rms(first.at(2) - other.at(2)) > 1e-4
    assert rms(first.replicates[0, 0] - first.replicates[0, 1]) > 1e-4


def test_wrong_requests_say_what_to_do():
    x, y = normal_inputs(2, 4, 5)
    with pytest.raises(limits.SolverError, match="power of two"):
        limits.ParticleTransport(particles=100)
    with pytest.raises(limits.SolverError, match="replicates must be at least 2"):
        limits.ParticleTransport(replicates=1)
    solver = limits.ParticleTransport(particles=64, nodes=2, replicates=2)
    with pytest.raises(limits.ShapeError, match="one per input"):
        solver.solve(limits.MeanODE(5), x, y[:2], steps=1, seed=0)
    with pytest.raises(limits.ShapeError, match=r"\(input, 5\)"):
        solver.solve(limits.MeanODE(5), x[:, :3], y, steps=1, seed=0)
    bad = x.clone()
    bad[1, 2] = torch.nan
    for pair, kind, remedy in (
        (
            (bad, y),
            limits.NonFiniteStateError,
            r"x has 1 NaN or infinite .*Clean the data",
        ),
        ((x, bad / 0), limits.NonFiniteStateError, "targets has .* NaN or infinite entries"),
        ((x.float(), y), limits.DTypeError, r"Use targets\.to\(x\)"),
        ((x, y.float()), limits.DTypeError, r"Use targets\.to\(x\)"),
        ((x.long(), y), limits.DTypeError, r"Use x\.double\(\)"),
    ):
        with pytest.raises(kind, match=remedy):
            solver.solve(limits.MeanODE(5), *pair, steps=1, seed=0)
    solution = solver.solve(limits.MeanODE(5), x, y, steps=1, seed=0)
    with pytest.raises(limits.LimitsError, match="not kept"):
        solution.at(0)
    with pytest.raises(limits.ShapeError, match="keep_states=True"):
        solution.states(0, torch.ones(1))
    net = limits.MeanFieldResNet(5, 3, depth=2, features=2, outputs=1)
    with pytest.raises(limits.ShapeError, match=r"MeanODE\.of\(net, weights"):
        limits.MeanODE.of(net)
    with pytest.raises(limits.ShapeError, match="Pass both"):
        limits.MeanODE(5, embedding=torch.zeros(2, 5))
