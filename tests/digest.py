"""Print a fingerprint of numbers from every wing, to compare two states of the library.

Nothing is stored here: run it at both commits, from the top folder of each, and compare the lines.

    PYTHONPATH=. python tests/digest.py --values before.npz > before.txt
    PYTHONPATH=. python tests/digest.py --against before.npz > after.txt

A line is the name of a result and the first digits of the sha256 of its bits, shapes and dtypes.
The second command also says by how much a result differs that is not the same in every bit, and
exits with 1 if one does. Only names of the public face are used, so that files may move freely.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import limits

Leaves = Iterator[tuple[str, np.ndarray]]
RESULTS: dict[str, Callable[[], object]] = {}

WIDTH, DEPTH = 6, 24
LAWS = {
    "brownian": limits.BrownianPath(WIDTH),
    "uniform": limits.IIDPath(WIDTH),
    "rademacher": limits.IIDPath(WIDTH, law="rademacher"),
    "rough": limits.FractionalPath(WIDTH, hurst=0.3),
    "persistent": limits.FractionalPath(WIDTH, hurst=0.7),
    "rbf": limits.SmoothPath(WIDTH),
    "rbf-derivative": limits.SmoothPath(WIDTH, length_scale=0.3, kernel="rbf-derivative"),
    "matern": limits.SmoothPath(WIDTH, length_scale=0.2, kernel="matern-5/2"),
}
BROWNIAN, PERSISTENT, SMOOTH = LAWS["brownian"], LAWS["persistent"], LAWS["rbf"]
TANH = limits.ResNet("tanh")


def result(function: Callable[[], object]) -> Callable[[], object]:
    """Make a function one of the results."""
    RESULTS[function.__name__] = function
    return function


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def drawn(path: limits.WeightPath, *, depth: int = DEPTH, **changes: Any) -> limits.WeightSample:
    return path.sample(**({"depth": depth, "n_paths": 5, "seed": 7} | changes))


def trajectory(out: limits.Trajectory) -> dict[str, object]:
    return {"times": out.times, "values": out.values, "log_norm": out.log_norm}


def estimate(found: limits.Estimate) -> tuple[float, float, int]:
    return found.value, found.standard_error, found.n


def order(found: limits.Order) -> tuple[float, float, float, float]:
    return found.value, found.low, found.high, found.constant


def norm(h: torch.Tensor) -> torch.Tensor:
    return h.norm(dim=-1)


def squared_norm(h: torch.Tensor) -> torch.Tensor:
    return h.square().sum(dim=-1)


# --- numbers and draws --------------------------------------------------------------------------


@result
def streams() -> object:
    stream = limits.Stream(3, "digest")
    return {
        "normals": stream.normals(16, 100, 17),
        "other layer": stream.normals(0, 3, 5, layer=1),
        "child": stream.child("a").normals(0, 70, 3),
        "uniforms": stream.uniforms(32, 66, 9),
        "centred": stream.centred_uniforms(16, 66, 9, 0.25),
        "generator": torch.randn(9, generator=stream.generator(2)),
    }


@result
def increments() -> object:
    found = {name: drawn(path).increments for name, path in LAWS.items()}
    single = drawn(BROWNIAN, dtype=torch.float32)
    return found | {"inner": drawn(BROWNIAN).inner.increments, "float32": single.layer_weights}


@result
def readings() -> object:
    found = {name: drawn(path).at_depth(6).increments for name, path in LAWS.items()}
    times = torch.tensor([0.0, 0.37, 1.0], dtype=torch.float64)
    return found | {"between layers": drawn(SMOOTH).weights_at(times)}


@result
def trained_paths() -> object:
    weights = drawn(SMOOTH).layer_weights[:, 0]
    sample = limits.TrainedPath(weights, index=1.0).sample()
    rough = limits.TrainedPath(normal(DEPTH, WIDTH, WIDTH) / WIDTH**0.5, index=0.5).sample()
    return {
        "smooth": trajectory(TANH(normal(2, WIDTH), sample.at_depth(8))),
        "rough": trajectory(TANH(normal(2, WIDTH), rough.at_depth(8))),
        "between": sample.weights_at(0.4),
    }


@result
def lazy_draws() -> object:
    # Lazy draws differ from run to run; that a repeated question gets the same answer does not.
    sample = drawn(BROWNIAN, lazy=True)
    first, again = (TANH(normal(2, WIDTH), sample.at_depth(12)).terminal for _ in range(2))
    return {"same": bool(torch.equal(first, again)), "finite": bool(first.isfinite().all())}


@result
def embeddings() -> object:
    inputs = normal(3, 4)
    return {
        "plain": limits.embed(inputs, width=WIDTH, seed=1),
        "orthant": limits.embed(inputs, width=WIDTH, seed=1, activation="relu"),
        "readout": limits.readout(width=WIDTH, outputs=3, seed=2),
    }


@result
def activations() -> object:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    named = {name: limits.as_activation(name) for name in ("identity", "relu", "tanh", "gelu")}
    named["sine"] = limits.as_activation(torch.sin)
    return {name: (each.value(x), each.derivative(x)) for name, each in named.items()}


# --- networks -----------------------------------------------------------------------------------

NETWORKS = {
    "res-1 identity": limits.ResNet("identity"),
    "res-1 tanh": TANH,
    "res-1 gelu": limits.ResNet("gelu", coefficient=0.7),
    "res-2 tanh": limits.ResNet("tanh", block="res-2", beta=0.6),
    "res-3 relu": limits.ResNet("relu", block="res-3"),
    "post-relu relu": limits.ResNet("relu", block="post-relu"),
    "averaged": limits.ResNet("relu", block=limits.AveragedInner(limits.as_activation("relu"))),
    "biased": limits.ResNet("tanh", block=limits.Inner(limits.as_activation("tanh"), 0.3)),
}


@result
def networks() -> object:
    h0 = normal(3, WIDTH).relu() + 0.1
    return {
        f"{label}, {law}": trajectory(net(h0, drawn(path), keep="all"))
        for label, net in NETWORKS.items()
        for law, path in LAWS.items()
    }


@result
def networks_of_single_precision() -> object:
    h0 = normal(3, WIDTH, dtype=torch.float32)
    return {
        law: TANH(h0, drawn(path, dtype=torch.float32, n_paths=40)).terminal
        for law, path in LAWS.items()
    }


@result
def networks_of_other_exponents() -> object:
    h0, betas = normal(3, WIDTH), torch.tensor([0.4, 0.5, 1.0], dtype=torch.float64)
    return {law: TANH_AT(betas)(h0, drawn(path)).values for law, path in LAWS.items()}


def TANH_AT(beta: object) -> limits.ResNet:
    return limits.ResNet("tanh", beta=beta)


@result
def log_norms() -> object:
    linear = limits.ResNet("identity", beta=-1.0)
    return trajectory(linear(normal(2, WIDTH), drawn(BROWNIAN, depth=400)))


@result
def corrected_networks() -> object:
    net = limits.ResNet("tanh", corrected=True)
    return trajectory(net(normal(2, WIDTH), drawn(PERSISTENT), keep="all"))


@result
def gradients() -> object:
    found = {}
    for label, net in NETWORKS.items():
        sample, h0 = drawn(BROWNIAN), normal(3, WIDTH).relu() + 0.1
        out = net(h0, sample, keep="all")
        found[label] = net.backward(out, sample, normal(5, 3, WIDTH, seed=1)).values
    h0 = normal(3, WIDTH).requires_grad_()
    TANH(h0, drawn(PERSISTENT)).terminal.square().sum().backward()
    return found | {"autograd": h0.grad}


@result
def tangents() -> object:
    found = {}
    for label, net in NETWORKS.items():
        h0 = normal(3, WIDTH).relu() + 0.1
        h, q = net.tangent(h0, normal(3, WIDTH, seed=1), drawn(BROWNIAN))
        found[label] = (h.values, q.values)
    return found


# --- limits and solvers -------------------------------------------------------------------------


@result
def limit_of_every_pair() -> object:
    found = {}
    for label, net in NETWORKS.items():
        for law, path in LAWS.items():
            try:
                limit = limits.depth_limit(net, path)
            except limits.NoLimitError:
                found[f"{label}, {law}"] = "none"
            else:
                words = (limit.kind, limit.coupling, limit.form, str(limit.order))
                found[f"{label}, {law}"] = " ".join(words)
    return found


@result
def noise_samples() -> object:
    limit = limits.depth_limit(NETWORKS["res-3 relu"], BROWNIAN)
    noise = limit.sample(depth=32, n_paths=5, seed=3)
    return {"fine": noise.increments(n_inputs=2), "coarse": noise.at_depth(8).increments()}


@result
def euler_maruyama() -> object:
    solver, h0 = limits.EulerMaruyama(steps=12), normal(2, WIDTH)
    found = {}
    for law in ("brownian", "persistent", "rbf", "matern"):
        limit = limits.depth_limit(TANH, LAWS[law])
        found[law] = trajectory(solver.solve(limit, h0, drawn(LAWS[law]), keep="all"))
    return found


@result
def isotropic_euler() -> object:
    found = {}
    for label in ("res-1 tanh", "res-2 tanh", "res-3 relu", "biased"):
        net = limits.ResNet(NETWORKS[label].activation, block=NETWORKS[label].block)
        limit = limits.depth_limit(net, BROWNIAN, form="law")
        noise = limit.sample(depth=16, n_paths=5, seed=3)
        found[label] = trajectory(limits.EulerMaruyama().solve(limit, normal(3, WIDTH), noise))
    rough = limits.depth_limit(NETWORKS["res-3 relu"], LAWS["rough"], form="law")
    noise = rough.sample(depth=16, n_paths=5, seed=3)
    return found | {"rough": limits.EulerMaruyama().solve(rough, normal(1, WIDTH), noise).values}


@result
def reflected_euler() -> object:
    limit = limits.depth_limit(NETWORKS["post-relu relu"], BROWNIAN)
    h0 = normal(2, WIDTH).relu()
    return trajectory(limits.EulerMaruyama(steps=12).solve(limit, h0, drawn(BROWNIAN)))


@result
def torchsde() -> object:
    limit = limits.depth_limit(TANH, BROWNIAN)
    law = limits.depth_limit(NETWORKS["res-3 relu"], BROWNIAN)
    noise, h0 = law.sample(depth=12, n_paths=3, seed=1), normal(2, WIDTH)
    return {
        "path": trajectory(limits.TorchSDE(steps=12).solve(limit, h0, drawn(BROWNIAN))),
        "law": trajectory(limits.TorchSDE().solve(law, h0, noise)),
    }


@result
def torchdiffeq() -> object:
    limit, h0 = limits.depth_limit(TANH, SMOOTH), normal(2, WIDTH)
    methods = ("euler", "rk4", "dopri5", "dopri8")
    return {
        method: trajectory(limits.TorchDiffEq(method).solve(limit, h0, drawn(SMOOTH)))
        for method in methods
    }


@result
def closed_form_solutions() -> object:
    linear = limits.ResNet("identity")
    path = limits.FractionalPath(1, hurst=0.7)
    found = {"young": (path, limits.depth_limit(linear, path))}
    found["sde"] = (limits.BrownianPath(1), limits.depth_limit(linear, limits.BrownianPath(1)))
    h0 = torch.ones(1, 1, dtype=torch.float64)
    return {
        name: trajectory(limits.ClosedForm().solve(limit, h0, drawn(path), keep="all"))
        for name, (path, limit) in found.items()
    }


@result
def foreign_equations() -> object:
    limit, sample = limits.depth_limit(TANH, BROWNIAN), drawn(BROWNIAN)
    equation = limits.from_torchsde(limit.as_torchsde(sample))
    start = limit.pack(normal(2, WIDTH), 5)
    solved = limits.EulerMaruyama(steps=12).solve(equation, start, sample.as_torchsde())
    return trajectory(solved)


# --- errors and studies -------------------------------------------------------------------------


@result
def errors() -> object:
    h0, sample = normal(2, WIDTH), drawn(BROWNIAN, n_paths=40)
    fine = TANH(h0, sample, keep="all")
    coarse = TANH(h0, sample.at_depth(12), keep="all")
    return {
        "strong": estimate(limits.strong_error(coarse, fine)),
        "p = 1": estimate(limits.strong_error(coarse, fine, p=1)),
        "uniform": estimate(limits.strong_error(coarse, fine, time="uniform")),
        "weak": estimate(limits.weak_error(coarse, fine, functional=norm)),
        "number": estimate(limits.weak_error(coarse, 1.5, functional=norm)),
        "paths": limits.path_errors(coarse, fine),
    }


@result
def fitted_orders() -> object:
    depths = (4, 8, 16, 32, 64)
    sizes = np.asarray(depths, dtype=float)[:, None] ** -0.5
    values = sizes * np.exp(0.3 * normal(5, 100).numpy())
    return {p: order(limits.fit_order(values, depths=depths, p=p, seed=0)) for p in (1, 2)}


def study(net: limits.ResNet, path: limits.WeightPath, **changes: Any) -> object:
    settings = {"depths": (4, 8, 16, 32), "n_paths": 40, "seed": 1, "h0": normal(2, path.width)}
    found = limits.convergence_study(net, path, **(settings | changes))
    return {
        "errors": [estimate(each) for each in found.errors],
        "order": order(found.order),
        "paths": found.path_errors,
        "closed form": found.closed_form,
        "expected": found.expected_order,
    }


@result
def strong_studies() -> object:
    return {
        "against itself": study(TANH, BROWNIAN, reference=128),
        "sde": study(TANH, BROWNIAN),
        "uniform": study(TANH, BROWNIAN, error="uniform", p=1),
        "linear": study(limits.ResNet("identity"), BROWNIAN, reference=64),
        "reflected": study(NETWORKS["post-relu relu"], BROWNIAN, h0=normal(2, WIDTH).relu()),
    }


@result
def weak_studies() -> object:
    linear = limits.ResNet("identity")
    return {
        "coupled": study(TANH, BROWNIAN, error="weak", functional=norm, reference=64),
        "closed": study(linear, BROWNIAN, error="weak", functional=squared_norm, reference=2.0),
        "law": study(
            NETWORKS["res-3 relu"], BROWNIAN, error="weak", functional=squared_norm, reference=9.0
        ),
    }


@result
def studies_of_equations() -> object:
    young = limits.FractionalPath(1, hurst=0.7)
    return {
        "ode": study(TANH, SMOOTH),
        "rk4": study(TANH, LAWS["matern"], reference=limits.TorchDiffEq("rk4")),
        "young": study(limits.ResNet("identity"), young, p=1),
        "corrected": study(limits.ResNet("tanh", corrected=True), PERSISTENT, depths=(4, 8, 16)),
        "own seed": study(TANH, SMOOTH, h0=None),
    }


@result
def infinite_depth_expectations() -> object:
    h0 = normal(2, WIDTH)
    found = {}
    for name, net, path in (
        ("isotropic", NETWORKS["res-3 relu"], BROWNIAN),
        ("tanh", TANH, BROWNIAN),
        ("path", TANH, SMOOTH),
    ):
        out = limits.infinite_depth_expectation(net, path, norm, h0=h0, tolerance=0.05, seed=2)
        found[name] = (out.value, out.standard_error, out.bias, out.to_dataset())
    return found


@result
def closed_forms() -> object:
    forms, depths = limits.closed_forms, np.array([2, 8, 64, 1000])
    law, rough = forms.log_norm_law("res-3", 40), forms.rough_relu_law(0.3, 40)
    return {
        "autocovariance": forms.fractional_autocovariance(np.arange(9), 0.3),
        "nested": forms.linear_nested_strong_error(depths, 2048, coefficient=0.8),
        "edge": forms.linear_product_edge(np.array([2, 8, 64]), width=40),
        "edge limit": forms.linear_product_edge_limit(np.array([0.1, 0.5, 1.0])),
        "linear moment": forms.linear_second_moment(depths),
        "linear strong": forms.linear_strong_error(depths),
        "linear weak": forms.linear_weak_error(depths),
        "log-normal": (law.mean, law.variance, rough.mean, rough.variance),
        "ratio": forms.post_relu_ratio(np.abs(normal(20, 9).numpy()), 0.3),
        "bounds": forms.post_relu_second_moment_bounds(depths),
        "correlation": forms.relu_correlation(np.array([0.0, 0.3, 1.0]), 0.2),
        "relu log mean": forms.relu_log_mean(np.array([2, 8]), 6),
        "depth bias": forms.relu_log_mean_depth_bias(depths, 40),
        "relu moment": forms.relu_second_moment(depths),
        "relu weak": forms.relu_weak_error(depths),
        "rough drift": forms.rough_drift(depths, 0.3, 40),
        "rough rates": forms.rough_relu_rates(0.3, 40),
        "young": forms.young_linear_error(depths, 0.7),
    }


# --- mean field ---------------------------------------------------------------------------------

TWO = normal(2, 2), torch.tensor([[1.0], [-0.5]], dtype=torch.float64)


@result
def mean_field_networks() -> object:
    net = limits.MeanFieldResNet(5, 7, depth=6, alpha=2.0)
    weights, x = net.sample(n_paths=3, seed=0), normal(4, 5)
    out = net(x, weights, keep="all")
    cotangent = normal(3, 4, 5, seed=2)
    return {
        "u": weights.u, "v": weights.v, "values": out.values,
        "backward": net.backward(out, weights, cotangent).values,
    }  # fmt: skip


@result
def mean_field_descent() -> object:
    plain = limits.MeanFieldResNet(5, 7, depth=6, activation="gelu", eta_u=0.5)
    framed = limits.MeanFieldResNet(9, 7, depth=4, features=3, outputs=2, embeddings="orthogonal")
    found = {}
    for name, net, x, y in (
        ("plain", plain, normal(4, 5), normal(4, 5, seed=1)),
        ("embedded", framed, normal(6, 3), normal(6, 2, seed=1)),
    ):
        weights = net.sample(n_paths=3, seed=0)
        out = net.descend(x, y, weights, steps=3, learning_rate=0.7, keep=(0, 2, 3), track=(0, 2))
        found[name] = (out.losses, out.outputs, out.weights.u, out.weights.v, out.tracked)
    return found


@result
def mean_ode() -> object:
    solver = limits.ParticleTransport(particles=256, nodes=4, replicates=3)
    out = solver.solve(limits.MeanODE(4), *normal(2, 3, 4), steps=3, seed=0, keep=(0, 2, 3))
    return {
        "replicates": out.replicates,
        "losses": out.losses,
        "errors": out.depth_errors,
        "at": out.at(2),
    }


@result
def mean_ode_of_a_network() -> object:
    net = limits.MeanFieldResNet(9, 7, depth=4, features=3, outputs=2)
    weights = net.sample(n_paths=1, seed=0)
    limit = limits.MeanODE.of(net, weights)
    solver = limits.ParticleTransport(particles=256, nodes=3, replicates=2)
    out = solver.solve(limit, normal(4, 3), normal(4, 2, seed=1), steps=2, seed=1, keep_states=True)
    times = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    return {
        "outputs": out.at(2), "states": out.states(2, times), "gradients": out.gradients(2, times),
        "transported": out.transport(normal(3, 9), normal(3, 9, seed=1), times),
    }  # fmt: skip


@result
def lazy_limit() -> object:
    out = limits.LazyLimit("tanh", 1.2, 0.8, embeddings=True).descend(*TWO, steps=3)
    plain = limits.LazyLimit("gelu").descend(*normal(2, 2, 2), steps=2)
    return {"tanh": out.outputs, "losses": out.losses, "gelu": plain.outputs, "h": out.states}


@result
def large_width_limit() -> object:
    limit = limits.LargeWidthLimit("tanh", 1.2, 0.8, particles=1024, replicates=2)
    out = limit.descend(*TWO, steps=2, seed=0)
    return {"outputs": out.outputs, "errors": out.standard_errors, "losses": out.losses}


@result
def split_errors_and_shapes() -> object:
    outputs = 0.3 + normal(12, 30).numpy()
    split = limits.split_error(outputs, np.zeros(30), seed=1)
    grid = [(depth, width) for depth in (2, 8, 32) for width in (1, 4, 16)]
    sizes = np.array([1 / d + (10 / (d * w)) ** 0.5 for d, w in grid])[:, None]
    noisy = sizes * np.exp(0.1 * normal(9, 12).numpy())
    depths, widths = [list(each) for each in zip(*grid, strict=True)]
    fits = {
        kind: limits.fit_shape(
            noisy, depths=depths, hidden_widths=widths, embedding_dim=10, seed=0, kind=kind
        )
        for kind in ("quadrature", "linear")
    }
    shapes = {kind: (fit.a, fit.b, fit.residual) for kind, fit in fits.items()}
    return {"split": (split.bias, split.fluctuation), **shapes}


@result
def training_phases() -> object:
    x, y = normal(6, 6), normal(6, 6, seed=1)
    found = {}
    for alpha in (0.01, 1.0, 30.0):
        net = limits.MeanFieldResNet(6, 32, depth=16, alpha=alpha, convention="initialisation")
        phase = limits.training_phase(net, x, y, n_paths=4, seed=0)
        numbers = (phase.feature_movement, phase.weight_movement, phase.output_fluctuation)
        found[str(alpha)] = (phase.phase, phase.regime, [estimate(each) for each in numbers])
    return found


# --- training -----------------------------------------------------------------------------------


def few_digits(dtype: torch.dtype = torch.float32) -> Any:
    data = limits.data.digits()
    return limits.data.LabelledData(
        data.train_inputs[:60].to(dtype), data.train_classes[:60],
        data.test_inputs[:20].to(dtype), data.test_classes[:20], 10, "few digits",
    )  # fmt: skip


@result
def digits() -> object:
    data = limits.data.digits()
    standard, rows = limits.data.standardised(data, channels=1), limits.data.unit_rows(data)
    return {
        "inputs": data.train_inputs, "classes": data.train_classes, "test": data.test_inputs,
        "standardised": standard.test_inputs, "unit rows": rows.train_inputs,
    }  # fmt: skip


@result
def residual_modules() -> object:
    found = {}
    for block in ("res-1", "res-2", "res-3"):
        module = limits.ResNetModule(
            BROWNIAN, depth=8, seed=1, block=block, features=4, outputs=3, activation="gelu"
        )
        module(normal(3, 4, dtype=torch.float32)).square().sum().backward()
        slopes = {name: each.grad for name, each in module.named_parameters()}
        found[block] = (module(normal(3, 4, dtype=torch.float32)), module.weights, slopes)
    return found


@result
def ensembles() -> object:
    runs = (
        limits.Configuration(SMOOTH, 1e-3, beta=1.0),
        limits.Configuration(BROWNIAN, 3e-3, beta=0.5, seed=2),
        limits.Configuration(PERSISTENT, 1e-2, seed=4),
    )
    out = limits.train_ensemble(
        runs, few_digits(), depth=10, epochs=2, batch=16, step_epochs=1, keep_weights=True
    )
    frozen = limits.train_ensemble(
        runs, few_digits(torch.float64), depth=6, epochs=1, activation="tanh", chunk=2,
        train_embedding=False, dtype=torch.float64, checkpoint_every=2,
    )  # fmt: skip
    return {"float32": (out.losses, out.accuracy, out.weights), "float64": frozen.losses}


def analysed(skip: float = 1.0) -> limits.AnalysedEnsemble:
    return limits.AnalysedEnsemble(
        limits.BrownianPath(8), depth=5, n_paths=3, seed=4, features=64, outputs=10,
        tau=0.3 if skip else 1.4, skip=skip,
    )  # fmt: skip


@result
def analysed_ensembles() -> object:
    found = {}
    inputs, targets = normal(7, 64, dtype=torch.float32), normal(7, 10, dtype=torch.float32)
    for skip in (1.0, 0.0):
        nets = analysed(skip)
        kernel = nets.tangent_kernel(inputs[:3])
        losses = limits.descend_squares(nets, inputs, targets, rate=0.01, steps=4)
        found[str(skip)] = (kernel, losses, nets.weights, nets.outputs(inputs))
    return found


@result
def analysed_training() -> object:
    nets = analysed()
    losses = limits.train_analysed(nets, few_digits(), rate=0.02, batch=16, epochs=2, seed=3)
    return losses, nets.weights


@result
def classifiers() -> object:
    data = limits.data.standardised(few_digits(), channels=1)
    recipe = limits.Recipe(epochs=2, batch=20, milestones=(1,), crop=1, learning_rate=0.05)
    found = {}
    for normalisation in ("batch", "none"):
        net = limits.ConvResNet(
            (2, 1), channels=(2, 4), image=(1, 8, 8), n_classes=10, seed=0, tau=0.5,
            normalisation=normalisation,
        )  # fmt: skip
        out = limits.train_classifier(net, data, recipe, seed=1, image=(1, 8, 8))
        found[normalisation] = (out.losses, out.errors, list(net.parameters()))
    return found


# --- users' models ------------------------------------------------------------------------------


class Residual(torch.nn.Module):
    """A user's network: a linear stem, blocks with two layers, a linear head."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(8, 16)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16))
            for _ in range(depth)
        )
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


@result
def depth_checks() -> object:
    check = limits.depth_check(Residual, depths=(4, 8, 16), n_seeds=3, seed=1)

    def step(model: torch.nn.Module, depth: int) -> Callable[[], object]:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1 / depth)
        inputs, targets = normal(5, 8).float(), normal(5, 4, seed=1).float()

        def make() -> float:
            optimiser.zero_grad()
            loss = (model(inputs) - targets).square().mean()
            loss.backward()
            optimiser.step()
            return float(loss.detach())

        return make

    trained = limits.depth_check(
        Residual, depths=(4, 8, 16), n_seeds=3, seed=1, make_step=step, steps=2
    )
    said = {"verdict": str(check.verdict), "reason": check.reason, "kind": str(check.kind)}
    return {"plain": check.to_dataset(), "trained": trained.to_dataset(), **said}


@result
def scaled_residuals() -> object:
    torch.manual_seed(0)
    model = Residual(6)
    scaled = limits.scale_residuals(model, tau="1/sqrt(L)")
    outputs = model(normal(3, 8, dtype=torch.float32))
    scaled.remove()
    return {
        "scaled": outputs, "plain": model(normal(3, 8, dtype=torch.float32)),
        "branches": " ".join(scaled.branches), "tau": scaled.tau,
    }  # fmt: skip


@result
def weight_regularities() -> object:
    found = {}
    for law, path in LAWS.items():
        seen = limits.weight_regularity(drawn(path, depth=200).layer_weights[:, 0])
        found[law] = (
            seen.hurst, seen.hurst_low, seen.hurst_high, seen.max_norm, seen.variation_ratio,
            seen.detrended_cumulative_sum, seen.verdict,
        )  # fmt: skip
    stacks = [drawn(BROWNIAN, depth=depth).layer_weights[:, 0] for depth in (32, 64, 128)]
    return found | {"slopes": limits.weight_regularity(stacks).slopes}


# --- the script ---------------------------------------------------------------------------------


def leaves(value: object, name: str = "") -> Leaves:
    """Yield the arrays of a result with their names; words as arrays of bytes."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from leaves(each, f"{name}/{key}")
    elif isinstance(value, (tuple, list)):
        for i, each in enumerate(value):
            yield from leaves(each, f"{name}/{i}")
    elif isinstance(value, xr.Dataset):
        for key in sorted(map(str, value.variables)):
            yield from leaves(value[key].values, f"{name}/{key}")
    elif isinstance(value, torch.Tensor):
        yield name, value.detach().cpu().contiguous().numpy()
    else:
        array = np.asarray("none" if value is None else value)
        if array.dtype.kind in "OUS":
            array = np.frombuffer(str(array.tolist()).encode(), dtype=np.uint8)
        yield name, np.ascontiguousarray(array)


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the first digits of the sha256 of everything that makes up a result."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def difference(found: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray]) -> str:
    """Say by how much a result differs from a known one, and where the most."""
    if found.keys() != known.keys():
        return f"other parts: {sorted(found.keys() ^ known.keys())[:3]}"
    worst, where = 0.0, ""
    for name, array in found.items():
        other = known[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            return f"{name}: {array.dtype}{array.shape} was {other.dtype}{other.shape}"
        if array.tobytes() == other.tobytes():
            continue
        if array.dtype == np.uint8:
            return f"{name}: {array.tobytes().decode()!r} was {other.tobytes().decode()!r}"
        here, there = array.astype(float), other.astype(float)
        largest = np.nanmax(np.abs(there), initial=0.0, where=np.isfinite(there)) or 1.0
        gap = np.abs(np.where(here == there, 0.0, here - there))
        gap[np.isnan(here) & np.isnan(there)] = 0.0
        relative = float("inf") if np.isnan(gap).any() else float(gap.max()) / largest
        if relative >= worst:
            worst, where = relative, name
    return f"{worst:.1e} of the largest entry, in {where}" if where else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Print a fingerprint of numbers of every wing.")
    parser.add_argument("names", nargs="*", help="results to compute; all if none is named")
    parser.add_argument("--values", type=Path, help="save the arrays in this file (.npz)")
    parser.add_argument("--against", type=Path, help="compare with the arrays of this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.stderr.write(f"library: {Path(limits.__file__).parent}\n")
    everything: dict[str, np.ndarray] = {}
    known: Mapping[str, np.ndarray] = np.load(options.against) if options.against else {}
    moved = 0
    for name in options.names or RESULTS:
        arrays = dict(leaves(RESULTS[name](), name))
        everything |= arrays
        before = {key: known[key] for key in known if key.split("/")[0] == name}
        said = difference(arrays, before) if options.against else ""
        moved += bool(said)
        line = f"{name:32} {fingerprint(arrays)}" + (f"   differs: {said}" if said else "")
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    if options.values:
        np.savez(options.values, **everything)
    return int(bool(moved))


if __name__ == "__main__":
    sys.exit(main())
