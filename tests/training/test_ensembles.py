"""An ensemble is its configurations, trained one by one."""

import time

import numpy as np
import pytest
import torch

import limits
from limits.training.batches import epoch_order
from limits.training.ensemble.stacked_networks import padded_width

DATA = limits.data.digits()
SMOOTH, ROUGH = limits.SmoothPath(12), limits.BrownianPath(12)


def small(count=60, tests=20, dtype=torch.float32):
    return limits.data.LabelledData(
        DATA.train_inputs[:count].to(dtype), DATA.train_classes[:count],
        DATA.test_inputs[:tests].to(dtype), DATA.test_classes[:tests], 10, "few digits",
    )  # fmt: skip


def one_by_one(configuration, data, *, depth, epochs, batch, step_epochs, gamma=0.1, steps=None,
               dtype=torch.float32, **options):  # fmt: skip
    """Train with torch's own gradients, optimiser and scheduler."""
    # The fastest for products of this size; two threads on busy cores wait for each other.
    torch.set_num_threads(1)
    module = limits.ResNetModule(
        configuration.path, depth=depth, seed=configuration.seed, beta=configuration.beta,
        features=data.features, outputs=data.n_classes, dtype=dtype, **options,
    )  # fmt: skip
    trained = [each for each in module.parameters() if each.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=configuration.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_epochs, gamma)
    losses = []
    for epoch in range(epochs):
        order = epoch_order(len(data.train_inputs), seed=configuration.seed, epoch=epoch)
        for rows in order.split(batch):
            if steps is not None and len(losses) == steps:
                return module, losses
            optimiser.zero_grad()
            outputs = module(data.train_inputs[rows].to(dtype))
            loss = torch.nn.functional.cross_entropy(outputs, data.train_classes[rows])
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        schedule.step()
    return module, losses


MIXED = (
    limits.Configuration(SMOOTH, 1e-3, beta=1.0, seed=0),
    limits.Configuration(ROUGH, 3e-3, beta=0.5, seed=0),
    limits.Configuration(ROUGH, 1e-2, beta=0.9, seed=4),
    limits.Configuration(limits.FractionalPath(12, hurst=0.7), 1e-3, seed=4),
)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "activation", "frozen"),
    [
        (torch.float32, 1e-5, "relu", {}),
        (torch.float64, 1e-12, "relu", {"train_embedding": False}),
        (torch.float64, 1e-12, "tanh", {"train_readout": False}),
        (torch.float64, 1e-12, torch.nn.functional.softplus, {}),
    ],
)
def test_an_ensemble_has_the_losses_of_its_configurations_one_by_one(
    dtype, tolerance, activation, frozen
):
    # 60 inputs in batches of 16: four steps an epoch, the last of 12 inputs; 20 steps in all,
    # with the learning rate falling twice.
    data = small(dtype=dtype)
    shared = {"depth": 30, "epochs": 5, "batch": 16, "step_epochs": 2}
    trained = limits.train_ensemble(
        MIXED, data, **shared, dtype=dtype, activation=activation, keep_weights=True, **frozen
    )
    assert trained.losses.shape == (4, 20)
    for i, each in enumerate(MIXED):
        module, losses = one_by_one(
            each, data, **shared, dtype=dtype, activation=activation, **frozen
        )
        begun = limits.ResNetModule(each.path, depth=30, seed=each.seed, dtype=dtype)
        assert float((begun.weights - module.weights).abs().max()) > 1e-3
        gap = (trained.losses[i].double() - torch.tensor(losses, dtype=torch.float64)).abs()
        assert float(gap.max()) < tolerance, i
        assert torch.allclose(trained.weights[i], module.weights, rtol=0, atol=100 * tolerance)
        logits = module(data.test_inputs.to(dtype)).detach()
        right = logits.argmax(dim=1) == data.test_classes
        assert float(trained.accuracy[i]) == pytest.approx(float(right.double().mean()))
        missed = torch.nn.functional.cross_entropy(logits.double(), data.test_classes)
        assert float(trained.test_loss[i]) == pytest.approx(float(missed), abs=100 * tolerance)


@pytest.mark.parametrize(
    "options",
    [{"chunk": 1}, {"chunk": 3}, *({"checkpoint_every": count} for count in (1, 7, 64))],
)
def test_chunks_and_checkpoints_change_no_loss(options):
    data = small(dtype=torch.float64)
    shared = {"depth": 30, "epochs": 2, "batch": 32, "dtype": torch.float64}
    plain = limits.train_ensemble(MIXED, data, **shared)
    other = limits.train_ensemble(MIXED, data, **shared, **options)
    assert torch.allclose(plain.losses, other.losses, rtol=0, atol=1e-13)
    assert torch.equal(plain.accuracy, other.accuracy)


def test_every_epoch_seed_and_path_has_an_order_of_its_own():
    asked = [{}, {"epoch": 1}, {"seed": 1}, {"path": 1}]
    orders = [tuple(epoch_order(60, **({"seed": 0, "epoch": 0} | each)).tolist()) for each in asked]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(60)) for order in orders)


def test_a_survivor_keeps_the_batches_of_its_own_seed():
    data, calm = small(dtype=torch.float64), MIXED[3]
    wild = limits.Configuration(ROUGH, 1e3, beta=0.5, seed=calm.seed + 1)
    shared = {"depth": 30, "epochs": 2, "batch": 16, "dtype": torch.float64}
    alone = limits.train_ensemble([calm], data, **shared)
    both = limits.train_ensemble([wild, calm], data, **shared, chunk=2)
    assert both.diverged_at[0] is not None
    assert both.diverged_at[0] < 6
    assert torch.allclose(both.losses[1], alone.losses[0], rtol=0, atol=1e-12)


def test_diverged_configurations_are_recorded_and_disturb_nobody():
    calm = MIXED[:2]
    wild = (
        limits.Configuration(limits.SmoothPath(12), 1e-3, beta=-1.0),
        limits.Configuration(ROUGH, 1e3, beta=0.5),
    )
    data, shared = small(), {"depth": 60, "epochs": 4, "batch": 16}
    alone = limits.train_ensemble(calm, data, **shared, keep_weights=True)
    mixed = limits.train_ensemble(
        (wild[0], calm[0], wild[1], calm[1]), data, **shared, keep_weights=True
    )
    assert mixed.diverged_at[0] == 0
    assert mixed.diverged_at[2] == 1
    assert mixed.diverged_at[1] is mixed.diverged_at[3] is None
    assert mixed.diverged.tolist() == [True, False, True, False]
    assert torch.allclose(mixed.losses[[1, 3]], alone.losses, rtol=0, atol=1e-6)
    assert torch.allclose(mixed.weights[[1, 3]], alone.weights, rtol=0, atol=1e-6)
    assert torch.isfinite(alone.losses).all()
    # The loss that gave it away stays on record; nothing comes after it.
    assert not float(mixed.losses[2, 1]) <= 1e6
    assert torch.isnan(mixed.losses[2, 2:]).all()
    assert torch.isnan(mixed.accuracy[[0, 2]]).all()
    assert torch.isnan(mixed.test_loss[[0, 2]]).all()
    initial = limits.ResNetModule(wild[0].path, depth=60, seed=0).weights
    assert torch.allclose(mixed.weights[0], initial, rtol=1e-5, atol=1e-6)
    with pytest.raises(limits.NonFiniteStateError, match="smaller learning rate"):
        mixed.as_path(0, index=1.0)
    assert "2 diverged" in repr(mixed)


def test_an_ensemble_of_nothing_but_divergence_ends():
    wild = [limits.Configuration(ROUGH, 1e3, beta=-1.0, seed=seed) for seed in range(3)]
    trained = limits.train_ensemble(wild, small(), depth=60, epochs=2)
    assert trained.diverged_at == (0, 0, 0)
    assert "best accuracy" not in repr(trained)


def test_the_explosion_threshold_is_the_users():
    tried = [limits.Configuration(ROUGH, 1e-3, beta=0.5)]
    options = {"depth": 20, "epochs": 1, "batch": 16}
    assert limits.train_ensemble(tried, small(), **options).diverged_at == (None,)
    assert limits.train_ensemble(tried, small(), **options, explosion=0.1).diverged_at == (0,)


def test_digits_are_learnt():
    tried = [limits.Configuration(limits.BrownianPath(30), 1e-2, beta=0.5, seed=s) for s in (0, 1)]
    trained = limits.train_ensemble(tried, DATA, depth=20, epochs=5)
    assert float(trained.accuracy.min()) > 0.93
    losses = trained.losses
    assert (losses[:, -12:].mean(dim=1) < 0.2 * losses[:, :12].mean(dim=1)).all()


def test_results_have_names_and_paths():
    trained = limits.train_ensemble(
        MIXED[:2], small(), depth=8, epochs=1, batch=32, keep_weights=True
    )
    dataset = trained.to_dataset()
    assert dataset["loss"].shape == (2, 2)
    assert dataset["diverged_at"].to_numpy().tolist() == [-1, -1]
    assert dataset["beta"].to_numpy().tolist() == [1.0, 0.5]
    assert dataset.attrs["depth"] == 8
    assert trained.as_path(1, index=0.5).weights.shape == (8, 12, 12)
    plain = limits.train_ensemble(MIXED[:2], small(), depth=8, epochs=1)
    with pytest.raises(limits.LimitsError, match="keep_weights=True"):
        plain.as_path(0, index=0.5)


def test_progress_counts_steps_of_configurations():
    calls = []
    limits.train_ensemble(
        MIXED, small(), depth=4, epochs=3, batch=20, chunk=2, progress=lambda *c: calls.append(c)
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == (36, 36, "training")


def test_widths_are_padded_where_that_is_exact_and_cheap():
    relu = limits.as_activation("relu")
    assert [padded_width(d, relu) for d in (12, 16, 30, 32, 33)] == [12, 16, 32, 32, 33]
    assert padded_width(30, limits.as_activation(torch.nn.functional.softplus)) == 30


def test_a_padded_ensemble_has_the_losses_of_the_module():
    each = limits.Configuration(limits.BrownianPath(15), 1e-2, beta=0.5)
    shared = {"depth": 20, "epochs": 1, "batch": 16, "step_epochs": 5}
    data = small(dtype=torch.float64)
    trained = limits.train_ensemble([each], data, **shared, dtype=torch.float64)
    _, losses = one_by_one(each, data, **shared, dtype=torch.float64)
    assert np.allclose(trained.losses[0], losses, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"configurations": []}, limits.LimitsError, "Pass a list of"),
        ({"configurations": ["a"]}, limits.LimitsError, "Pass a list of"),
        (
            {"configurations": [MIXED[0], limits.Configuration(limits.BrownianPath(4), 1e-3)]},
            limits.ShapeError,
            "Train each width in a call of its own",
        ),
        ({"configurations": [limits.Configuration(ROUGH, -1.0)]}, limits.LimitsError, r"0.001"),
        (
            {"configurations": [limits.Configuration(ROUGH, 1.0, beta=float("nan"))]},
            limits.LimitsError,
            "beta must be a finite number",
        ),
        ({"epochs": 0}, limits.ShapeError, "epochs=64"),
        ({"depth": 1.5}, limits.ShapeError, "depth=64"),
        ({"chunk": 0}, limits.ShapeError, "chunk=64"),
        ({"step_epochs": 0}, limits.ShapeError, "step_epochs=64"),
        ({"dtype": torch.float16}, limits.DTypeError, r"torch.float64"),
    ],
)
def test_refusals_have_remedies(change, error, message):
    arguments = {"configurations": MIXED, "depth": 4, "epochs": 1, **change}
    with pytest.raises(error, match=message):
        limits.train_ensemble(arguments.pop("configurations"), small(), **arguments)


@pytest.mark.slow
def test_fifty_configurations_train_four_times_faster_than_one_by_one():
    path = limits.FractionalPath(30, hurst=0.7)
    tried = [
        limits.Configuration(path, rate, beta=float(beta))
        for beta in np.linspace(0.5, 1.0, 10)
        for rate in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    ]
    steps = {"depth": 200, "epochs": 2, "step_epochs": 5}

    def ensemble():
        trained = limits.train_ensemble(tried, DATA, **steps)
        assert not trained.diverged.any()
        return trained

    start = time.perf_counter()
    trained = ensemble()
    together = time.perf_counter() - start
    chosen = range(0, 50, 10)
    start = time.perf_counter()
    runs = [one_by_one(tried[i], DATA, batch=128, **steps)[1] for i in chosen]
    apart = (time.perf_counter() - start) * len(tried) / len(runs)
    for i, losses in zip(chosen, runs, strict=True):
        assert np.allclose(trained.losses[i, :20], losses[:20], rtol=0, atol=1e-5)
    assert apart > 4 * together, f"{apart:.1f} s one by one, {together:.1f} s together"
