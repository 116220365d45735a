"""Bugs put into the fractional laws, the correction and the couplings: a check notices each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import limits
import limits.paths.fractional as fractional
from limits.closed_forms import fractional_autocovariance
from limits.networks.propagate import Stepper
from limits.paths import Layer

Patch = Callable[[pytest.MonkeyPatch], None]


# --- the checks ---------------------------------------------------------------------------------


def covariance_of_the_noise() -> None:
    for depth, hurst in ((12, 0.9), (40, 0.7), (64, 0.2)):
        A = fractional.noise_from_normals(torch.eye(2 * depth, dtype=torch.float64), depth, hurst)
        lags = np.abs(np.subtract.outer(np.arange(depth), np.arange(depth)))
        exact = torch.from_numpy(fractional_autocovariance(lags, hurst))
        torch.testing.assert_close(A.T @ A, exact, rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Shear:
    """g(h) = tanh(A h), whose derivative is not symmetric."""

    matrix: Tensor

    has_inner = False
    homogeneous = False

    def field(self, h: Tensor, inner: object) -> Tensor:
        return torch.tanh(h @ self.matrix.mT)

    def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
        return (1 - self.field(h, inner) ** 2) * (q @ self.matrix.mT)

    def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
        return ((1 - self.field(h, inner) ** 2) * p) @ self.matrix


SHEAR = Shear(torch.tensor([[1.0, 1.5, 0], [0, 0.5, -1], [0.5, 0, 1]], dtype=torch.float64))


def first_layer_of_the_correction(block: limits.Block) -> None:
    """Compare one corrected layer with the gradient of |g|^2 / 2, which knows no transpose."""
    h0 = torch.tensor([[0.7, -0.4, 0.2]], dtype=torch.float64)
    sample = limits.FractionalPath(3, hurst=0.7).sample(depth=4, n_paths=3, seed=0)
    one, two = (
        limits.ResNet("tanh", block=block, corrected=each)(h0, sample, keep="all").values[1]
        for each in (True, False)
    )
    h = h0[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(block.field(h, None).square().sum() / 2, h)
    expected = (4**-1.4 / 6 * gradient).expand_as(one)
    torch.testing.assert_close(one - two, expected, rtol=1e-10, atol=1e-13)


def correction_of_a_field_that_is_not_symmetric() -> None:
    first_layer_of_the_correction(SHEAR)


def correction_of_a_pointwise_field() -> None:
    first_layer_of_the_correction(limits.ResNet("tanh").vector_field)


def order_of_the_corrected_network() -> None:
    study = limits.convergence_study(
        limits.ResNet("identity", block=SHEAR, corrected=True, coefficient=0.5),
        limits.FractionalPath(3, hurst=0.7),
        depths=(8, 16, 32, 64),
        n_paths=256,
        seed=0,
        h0=torch.tensor([[0.7, -0.4, 0.2]], dtype=torch.float64),
        reference=1024,
    )
    # Over 8 seeds: 0.863 to 0.939; without the transpose 0.647 to 0.709, without the width 0.593
    # to 0.628. Against itself at depth 1024, so that a wrong correction is seen by its order only.
    assert abs(study.order.value - 0.9) < 0.12


def noise_of_a_law_form_and_weights_of_a_path_are_told_apart() -> None:
    path, res1 = limits.BrownianPath(3), limits.ResNet("tanh")
    res3, h0 = limits.ResNet("relu", block="res-3"), torch.ones(1, 3, dtype=torch.float64)
    law, strong = limits.depth_limit(res3, path), limits.depth_limit(res1, path)
    weights = path.sample(depth=8, n_paths=4, seed=0)
    noise = law.sample(depth=8, n_paths=4, seed=0)
    for limit, driver in ((law, weights), (strong, noise)):
        for solver in (limits.EulerMaruyama(), limits.TorchSDE()):
            with pytest.raises(limits.CouplingError):
                solver.solve(limit, h0, driver)


def solutions_on_noise_and_on_weights_are_not_subtracted() -> None:
    path, res3 = limits.BrownianPath(3), limits.ResNet("relu", block="res-3")
    h0 = torch.ones(1, 3, dtype=torch.float64)
    law = limits.depth_limit(res3, path)
    noise = law.sample(depth=8, n_paths=4, seed=0)
    solution = limits.EulerMaruyama().solve(law, h0, noise)
    network = res3(h0, path.sample(depth=8, n_paths=4, seed=0))
    with pytest.raises(limits.CouplingError):
        limits.strong_error(network, solution)


CHECKS = {
    each.__name__: each
    for each in (
        covariance_of_the_noise,
        correction_of_a_field_that_is_not_symmetric,
        correction_of_a_pointwise_field,
        order_of_the_corrected_network,
        noise_of_a_law_form_and_weights_of_a_path_are_told_apart,
        solutions_on_noise_and_on_weights_are_not_subtracted,
    )
}


@pytest.mark.parametrize("check", list(CHECKS))
def test_check_passes_on_the_code_as_it_is(check: str) -> None:
    CHECKS[check]()


# --- the bugs -----------------------------------------------------------------------------------


def zeroth_eigenvalue_at_the_nyquist_index(patch: pytest.MonkeyPatch) -> None:
    """What the published generator of fractional noise does."""
    right = fractional.circulant_amplitudes

    def wrong(depth: int, hurst: float) -> Tensor:
        amplitudes = right(depth, hurst).clone()
        amplitudes[depth] = amplitudes[0]
        return amplitudes

    patch.setattr(fractional, "circulant_amplitudes", wrong)


def zero_at_the_middle_lag(patch: pytest.MonkeyPatch) -> None:
    """The published generator's other mistake: 0 instead of r(L) in the circulant row."""

    def wrong(depth: int, hurst: float) -> Tensor:
        half = fractional_autocovariance(np.arange(depth + 1), hurst)
        half[depth] = 0
        row = np.concatenate([half, half[depth - 1 : 0 : -1]])
        return torch.from_numpy(np.sqrt(np.maximum(np.fft.rfft(row).real, 0)))

    patch.setattr(fractional, "circulant_amplitudes", wrong)


def correction_with(term: Callable[[Stepper, Tensor, Layer], Tensor]) -> Patch:
    """Return a patch that replaces Dg^T g by another term."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        def step(self: Stepper, layer: Layer) -> None:
            g = self.block.field(self.h, layer.inner)
            h = self.h + self.factor * layer.increment.mv(g)
            if self.correction is not None:
                h = h + self.correction * term(self, g, layer)
            self.h = h

        patch.setattr(Stepper, "step", step)

    return apply


def forgotten_transpose(patch: pytest.MonkeyPatch) -> None:
    correction_with(lambda self, g, layer: self.block.pushed(self.h, g, layer.inner))(patch)


def forgotten_width(patch: pytest.MonkeyPatch) -> None:
    correction_with(
        lambda self, g, layer: self.h.shape[-1] * self.block.pulled(self.h, g, layer.inner)
    )(patch)


def right_correction(patch: pytest.MonkeyPatch) -> None:
    correction_with(lambda self, g, layer: self.block.pulled(self.h, g, layer.inner))(patch)


def unchecked_drivers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits.DepthLimit, "check_driver", lambda self, driver: driver)


def one_tag_for_all_draws(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits.NoiseSample, "tag", property(lambda self: "draw"))
    patch.setattr(limits.WeightSample, "tag", property(lambda self: "draw"))


BUGS: list[tuple[Patch, str]] = [
    (zeroth_eigenvalue_at_the_nyquist_index, "covariance_of_the_noise"),
    (zero_at_the_middle_lag, "covariance_of_the_noise"),
    (forgotten_transpose, "correction_of_a_field_that_is_not_symmetric"),
    (forgotten_transpose, "order_of_the_corrected_network"),
    (forgotten_width, "correction_of_a_pointwise_field"),
    (forgotten_width, "order_of_the_corrected_network"),
    (unchecked_drivers, "noise_of_a_law_form_and_weights_of_a_path_are_told_apart"),
    (one_tag_for_all_draws, "solutions_on_noise_and_on_weights_are_not_subtracted"),
]


@pytest.mark.parametrize(("bug", "check"), BUGS, ids=lambda each: getattr(each, "__name__", each))
def test_check_notices_the_bug(bug: Patch, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    # Whatever the check trips over, from its own assertion to a shape that no longer fits.
    with pytest.raises((Exception, pytest.fail.Exception)):
        CHECKS[check]()


def test_forgotten_transpose_is_invisible_in_a_pointwise_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten_transpose(monkeypatch)
    correction_of_a_pointwise_field()


def test_rewriting_the_layer_is_not_itself_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    right_correction(monkeypatch)
    correction_of_a_field_that_is_not_symmetric()
    order_of_the_corrected_network()
