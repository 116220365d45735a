"""Memory is used again when nobody can see it, and never before."""

import gc
import threading

import pytest
import torch

import limits
from limits.paths.recycling import RecycledMemory, large_pages

CPU = torch.device("cpu")


def test_pieces_that_are_referred_to_are_never_lent_again():
    memory = RecycledMemory(1000)
    kept = [memory.piece().fill_(float(k)) for k in range(10)]
    view = memory.piece().fill_(10.0)[500:].view(20, 25)
    for _ in range(10):
        memory.piece().fill_(-1.0)
    assert [float(each.unique()) for each in kept] == list(range(10))
    assert float(view.unique()) == 10


def test_pieces_that_are_dropped_are_lent_again():
    memory = RecycledMemory(2**16)
    addresses = {memory.piece().data_ptr() for _ in range(50)}
    assert len(addresses) == 1
    held, addresses = memory.piece(), set()
    for _ in range(50):
        piece = memory.piece()
        addresses.add(piece.data_ptr())
    assert len(addresses) <= 2
    assert held.data_ptr() not in addresses


def test_a_graph_of_autograd_keeps_its_piece():
    memory = RecycledMemory(16)
    x = torch.ones(16, requires_grad=True)
    product = (x * memory.piece().fill_(3.0)).sum()
    memory.piece().fill_(-1.0)
    product.backward()
    assert torch.equal(x.grad, torch.full((16,), 3.0))


def test_pieces_of_several_threads_are_different():
    memory, wrong = RecycledMemory(4096), []

    def work(mark: float) -> None:
        for _ in range(300):
            piece = memory.piece().fill_(mark)
            if not bool((piece == mark).all()):
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_is_freed_with_its_owner():
    memory = RecycledMemory(16)
    piece = memory.piece().fill_(2.0)
    del memory
    gc.collect()
    assert float(piece.sum()) == 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (5,), (7, 11, 13), (600, 2048)])
def test_large_pages_hold_any_shape_on_whole_cache_lines(shape, dtype):
    found = large_pages(shape, dtype, CPU)
    assert found.shape == shape
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert found.numel() == 0 or found.data_ptr() % 64 == 0
    found.fill_(1.0)


def test_layers_that_are_kept_keep_their_numbers():
    # Memory of slabs is used again: not while somebody holds a layer of it.
    path = limits.BrownianPath(64)
    sample = path.sample(depth=64, n_paths=16, seed=0, dtype=torch.float32)
    basis = torch.eye(64).expand(16, 64, 64)
    kept = list(sample.layers())
    columns = torch.stack([layer.increment.mv(basis).mT for layer in kept])
    torch.testing.assert_close(columns, sample.increments, rtol=0, atol=0)


def test_autograd_sees_the_weights_of_its_own_layer():
    net, path = limits.ResNet("tanh"), limits.BrownianPath(64)
    sample = path.sample(depth=32, n_paths=16, seed=0)
    h0 = torch.randn(16, 1, 64, dtype=torch.float64, requires_grad=True)
    out = net(h0, sample)
    out.terminal.square().sum().backward()
    detached = net(h0.detach(), sample)
    adjoint = net.backward(detached, sample, 2 * detached.terminal)
    torch.testing.assert_close(h0.grad, adjoint.values[0], rtol=1e-10, atol=1e-12)
