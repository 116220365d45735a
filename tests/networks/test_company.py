"""A path has the bits that it has alone, whatever is beside it in memory."""

import pytest
import torch

import limits
from tests.helpers import normal_inputs

LAWS = (
    limits.BrownianPath,
    limits.SmoothPath,
    lambda width: limits.FractionalPath(width, hurst=0.7),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("law", LAWS, ids=["brownian", "smooth", "fractional"])
@pytest.mark.parametrize("width", [1, 3, 9, 13, 22, 31])
def test_part_of_a_draw_has_the_bits_of_the_whole(law, width, dtype):
    # Libraries round otherwise from where a matrix does not begin at a multiple of sixteen bytes,
    # as every second one of odd width does in company; alone all of them do.
    sample, net = (
        law(width).sample(depth=3, n_paths=5, seed=7, dtype=dtype),
        limits.ResNet(torch.sin),
    )
    for n_inputs in (1, 3, 5):
        h0 = normal_inputs(n_inputs, width, dtype=dtype)
        whole, increments = net(h0, sample), sample.increments
        pulled = net.backward(whole, sample, torch.ones_like(whole.terminal))
        for path in range(5):
            part, among = sample.part(path, 1), slice(path, path + 1)
            assert torch.equal(part.increments, increments[:, among])
            alone = net(h0, part)
            assert torch.equal(alone.values, whole.values[:, among])
            back = net.backward(alone, part, torch.ones_like(alone.terminal))
            assert torch.equal(back.values, pulled.values[:, among])


@pytest.mark.parametrize("phi", [torch.nn.functional.softplus, torch.nn.functional.mish])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_functional_of_a_path_does_not_depend_on_how_many_there_are(phi, dtype):
    def errors(n_paths, chunk):
        return limits.convergence_study(
            limits.ResNet("tanh"), limits.BrownianPath(1), depths=(2, 4, 8), n_paths=n_paths,
            seed=0, chunk=chunk, error="weak", functional=lambda h: phi(h).sum(dim=-1),
            reference=16, dtype=dtype,
        ).path_errors  # fmt: skip

    all_of_them = errors(83, 83)
    for n_paths, chunk in ((83, 16), (19, 16), (20, 32), (21, 19)):
        assert (errors(n_paths, chunk) == all_of_them[:, :n_paths]).all()
