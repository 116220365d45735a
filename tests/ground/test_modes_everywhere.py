"""Whatever mode the caller is in, every call of single and double precision has the same bits."""

from contextlib import contextmanager

import pytest
import torch

import limits
from limits.mean_field import LargeWidthLimit, LazyLimit, ParticleTransport, training_phase
from limits.training import (
    AnalysedEnsemble,
    Configuration,
    Recipe,
    descend_squares,
    train_analysed,
    train_classifier,
    train_ensemble,
)

F32, F64 = torch.float32, torch.float64
PATH, SMOOTH = limits.BrownianPath(4), limits.SmoothPath(4, length_scale=0.3)
NET, OWN = limits.ResNet("tanh"), limits.ResNet(torch.sin)
NEURONS = limits.MeanFieldResNet(4, 8, depth=3, features=3, outputs=2)
IN_PHASE = limits.MeanFieldResNet(3, 8, depth=3, convention="initialisation")
PARTICLES = ParticleTransport(particles=64, nodes=3, replicates=2, tolerance=1e-3)


def of(*shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.linspace(-1, 1, count, dtype=dtype, device="cpu").reshape(shape)


def draw(path=PATH, dtype=F32, **more):
    return path.sample(depth=8, n_paths=4, seed=0, dtype=dtype, **more)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=F64, device="cpu")


def projected(h: torch.Tensor) -> torch.Tensor:
    return (h @ of(4, 1))[..., 0]


class Linear:
    """A problem whose coefficients are products, which autocast would round."""

    noise_type, sde_type = "general", "ito"

    def f(self, t, y):
        return y @ of(4, 4)

    def g(self, t, y):
        return y[:, :, None] @ of(1, 4)


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = torch.nn.Linear(4, 4, dtype=F32, device="cpu")

    def forward(self, x):
        return x + self.branch(x)


def foreign():
    equation = limits.from_torchsde(Linear())
    noise = equation.sample(depth=4, n_paths=3, seed=0, channels=4, dtype=F32)
    return limits.EulerMaruyama().solve(equation, of(1, 4), noise).values


def of_law(net):
    limit = limits.depth_limit(net, PATH, form="law")
    noise = limit.sample(depth=8, n_paths=4, seed=0, dtype=F32)
    return limits.EulerMaruyama().solve(limit, of(1, 4), noise).values


def adjoint(net):
    out = net(of(1, 4), draw())
    return net.backward(out, draw(), torch.ones_like(out.terminal)).values


def neurons(keep="terminal"):
    weights = NEURONS.sample(n_paths=2, seed=0, dtype=F32)
    return weights, NEURONS(of(3, 3), weights, keep=keep)


def adjoint_of_neurons():
    weights, out = neurons(keep="all")
    return NEURONS.backward(out, weights, torch.ones_like(out.terminal)).values


def trained_limit():
    x = of(3, 3)
    return PARTICLES.solve(limits.MeanODE(3), x / 9, x, steps=2, seed=0, keep_states=True)


def analysed(features=3, outputs=2):
    return AnalysedEnsemble(
        limits.BrownianPath(8), depth=4, n_paths=2, seed=0, features=features, outputs=outputs,
        tau=0.5,
    )  # fmt: skip


def few_digits():
    data = limits.data.digits()
    return limits.data.LabelledData(
        data.train_inputs[:96], data.train_classes[:96], data.test_inputs[:8],
        data.test_classes[:8], 10,
    )  # fmt: skip


def classified():
    # Made as the caller would before the mode: its parameters can be trained.
    with torch.inference_mode(False):
        model = torch.nn.Linear(64, 10, dtype=F64, device="cpu")
        torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        found = limits.data.digits()
        data = limits.data.LabelledData(
            found.train_inputs[:96].double(), found.train_classes[:96],
            found.test_inputs[:8].double(), found.test_classes[:8], 10,
        )  # fmt: skip
    recipe = Recipe(epochs=1, milestones=(), crop=0, flip=False)
    return train_classifier(model, data, recipe, seed=0).losses


TIMES = (0.1, 0.7)
CALLS = {
    "network": lambda: NET(of(1, 4), draw()).values,
    "network, lazy": lambda: NET(of(1, 4), draw(lazy=True)).values,
    "network, own activation": lambda: OWN(of(1, 4), draw()).values,
    "tangent": lambda: OWN.tangent(of(1, 4), of(1, 4), draw())[1].values,
    "backward": lambda: adjoint(NET),
    "backward, own activation": lambda: adjoint(OWN),
    "product of a layer": lambda: next(iter(draw().layers())).increment.mv(of(4, 1, 4)),
    "fractional increments": lambda: draw(limits.FractionalPath(4, hurst=0.7)).increments,
    "smooth weights": lambda: draw(SMOOTH).weights_at(0.3),
    "trained weights": lambda: limits.TrainedPath(of(16, 4, 4), index=1.0).sample().increments,
    "euler": lambda: limits.EulerMaruyama().solve(
        limits.depth_limit(OWN, PATH), of(1, 4), draw()
    ).values,
    "law of tanh": lambda: of_law(NET),
    "law of gelu": lambda: of_law(limits.ResNet("gelu", block="res-2")),
    "torchsde": lambda: limits.TorchSDE().solve(
        limits.depth_limit(NET, PATH), of(1, 4), draw()
    ).values,
    "rk4": lambda: limits.TorchDiffEq("rk4").solve(
        limits.depth_limit(OWN, SMOOTH), of(1, 4), draw(SMOOTH)
    ).values,
    "midpoints": lambda: limits.MidpointExtrapolation(1e-4, 1e-4).solve(
        limits.depth_limit(OWN, SMOOTH), of(1, 4), draw(SMOOTH)
    ).values,
    "equation for torchdiffeq": lambda: limits.depth_limit(NET, SMOOTH).as_torchdiffeq(
        draw(SMOOTH)
    )(0.3, of(4, 1, 4)),
    "equation for torchsde": lambda: limits.depth_limit(NET, PATH).as_torchsde(draw()).g_prod(
        torch.zeros((), device="cpu"), of(4, 4), of(4, 16)
    ),
    "problem for torchsde": foreign,
    "weak error": lambda: number(
        limits.weak_error(NET(of(1, 4), draw()), 0.0, functional=projected).value
    ),
    "study": lambda: torch.from_numpy(
        limits.convergence_study(
            OWN, PATH, depths=(2, 4, 8), n_paths=4, seed=0, dtype=F32
        ).path_errors
    ),
    "expectation": lambda: number(
        limits.infinite_depth_expectation(
            NET, PATH, projected, h0=of(1, 4), tolerance=0.3, seed=0, dtype=F32
        ).value
    ),
    "expectation of the identity": lambda: number(
        limits.infinite_depth_expectation(
            limits.ResNet("tanh", beta=1.0), PATH, projected, h0=of(1, 4), tolerance=0.3, seed=0,
            dtype=F32,
        ).value
    ),
    "embedding": lambda: limits.embed(of(3, 5), width=4, seed=0, dtype=F32),
    "neurons": lambda: neurons()[1].values,
    "outputs of neurons": lambda: NEURONS.read(of(2, 3, 4), neurons()[0]),
    "gradients of neurons": adjoint_of_neurons,
    "descent of neurons": lambda: NEURONS.descend(
        of(3, 3), of(3, 2), neurons()[0], steps=2
    ).losses,
    "phase": lambda: number(
        training_phase(IN_PHASE, of(3, 3), of(3, 3), n_paths=2, seed=0).feature_movement.value
    ),
    "transport": lambda: trained_limit().losses,
    "states of the transport": lambda: trained_limit().gradients(
        1, torch.tensor(TIMES, dtype=F64, device="cpu")
    ),
    "particles on their way": lambda: trained_limit().transport(
        of(2, 3), of(2, 3), torch.tensor(TIMES, dtype=F64, device="cpu")
    ),
    "start of the Mean ODE": lambda: limits.MeanODE(
        4, embedding=of(3, 4), readout=of(4, 2)
    ).start(of(3, 3)),
    "large width": lambda: LargeWidthLimit("tanh", particles=64, nodes=4).descend(
        of(3, 3) / 9, of(3, 2), steps=2, seed=0
    ).losses,
    "lazy limit": lambda: LazyLimit("tanh", nodes=4).descend(
        of(3, 3) / 9, of(3, 3), steps=2
    ).losses,
    "analysed": lambda: analysed().outputs(of(5, 3)),
    "tangent kernel": lambda: analysed().tangent_kernel(of(2, 3)),
    "squares": lambda: descend_squares(analysed(), of(5, 3), of(5, 2), rate=0.01, steps=2),
    "minibatches": lambda: train_analysed(
        analysed(64, 10), limits.data.unit_rows(few_digits()), rate=0.1, batch=64, epochs=1, seed=0
    ),
    "ensemble": lambda: train_ensemble(
        [Configuration(limits.BrownianPath(8), 1e-3)], few_digits(), depth=3, epochs=1, batch=64
    ).losses,
    "classifier": classified,
    "depth check": lambda: number(
        limits.depth_check(
            lambda depth: torch.nn.Sequential(*(Residual().double() for _ in range(depth))),
            depths=(4, 8, 16), inputs=of(3, 4, dtype=F64), n_seeds=2,
        ).forward.growth.value
    ),
}  # fmt: skip


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(F32)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    yield
    torch.set_default_device(None)


MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "half by default": lambda: default_dtype(torch.bfloat16),
    "double by default": lambda: default_dtype(F64),
    "device by default": lambda: default_device("meta"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CALLS)
def test_no_mode_changes_a_bit_of_what_is_asked_for(name):
    # torch draws the weights of the check's linear layers in the default precision.
    usual = CALLS[name]()
    for mode, enter in MODES.items():
        with enter():
            found = CALLS[name]()
        assert found.dtype == usual.dtype, mode
        assert found.device == usual.device, mode
        assert torch.equal(found, usual), mode


def test_parameters_made_in_inference_mode_are_refused_before_training():
    with torch.inference_mode():
        model = torch.nn.Linear(64, 10)
    recipe = Recipe(epochs=1, milestones=(), crop=0, flip=False)
    with pytest.raises(limits.LimitsError, match=r"inference mode.*Make the model outside"):
        train_classifier(model, few_digits(), recipe, seed=0)
