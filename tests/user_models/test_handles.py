"""The factor on models that are copied, scripted, sharded or quantised."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

import limits
from tests import model_zoo as zoo


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def reloaded(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), reloaded],
    ids=["deepcopy", "pickle", "torch.save"],
)  # fmt: skip
def test_a_factor_can_be_taken_off_a_copy(again):
    model, x = zoo.encoder(2, dropout=0.0).eval(), torch.randn(2, 5, 16)
    plain = model(x)
    scaled = limits.scale_residuals(model)
    expected = model(x)
    other = again(model)
    found = limits.scaled_residuals(other)
    assert (found.branches, found.tau, repr(found)) == (scaled.branches, scaled.tau, repr(scaled))
    found.remove()
    assert torch.equal(other(x), plain)
    assert torch.equal(model(x), expected)
    with pytest.raises(limits.BranchError, match="no factor on its residual branches"):
        limits.scaled_residuals(other)
    limits.scaled_residuals(model).remove()
    assert torch.equal(model(x), plain)
    # The first handle has nothing left to remove, and says nothing about it.
    scaled.remove()


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, h):
        return h + torch.tanh(self.linear(h))


class Kept(nn.Module):
    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, h):
        return h + self.branch(h)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_is_scripted_is_refused_with_the_true_reason():
    x = torch.randn(2, 8)
    hidden = nn.Sequential(nn.Linear(8, 8), torch.jit.script(Whole()))
    with pytest.raises(limits.BranchError, match=r"'1' \(scripted\).* before torch.jit.script"):
        limits.scale_residuals(hidden, inputs=x)
    model = nn.Sequential(Kept(torch.jit.script(nn.Linear(8, 8))))
    with pytest.raises(limits.BranchError, match=r"'0.branch' is scripted, and takes no hook"):
        limits.scale_residuals(model, branch="0.branch", inputs=x)
    # The block around a scripted branch takes one.
    expected = x + 0.5 * model[0].branch(x)
    limits.scale_residuals(model, 0.5, inputs=x)
    torch.testing.assert_close(model(x), expected)
    beside = nn.Sequential(torch.jit.script(nn.Linear(8, 8)), *(Whole() for _ in range(4)))
    assert limits.scale_residuals(beside, inputs=x).branches == ("1", "2", "3", "4")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scaled_model_is_traced_with_its_factor_and_scripted_without():
    model, x = nn.Sequential(*(Whole() for _ in range(4))), torch.randn(2, 8)
    plain = model(x)
    limits.scale_residuals(model, 0.5)
    with pytest.raises(limits.BranchError, match=r"scaled_residuals\(model\)\.remove\(\)"):
        torch.jit.script(model)
    traced = torch.jit.trace(model, x)
    torch.testing.assert_close(traced(x), model(x))
    limits.scaled_residuals(model).remove()
    torch.testing.assert_close(torch.jit.script(model)(x), plain)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_int8_layers_are_layers_with_weights():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no int8 kernels on this machine")
    model = nn.Sequential(*(Kept(nn.Linear(8, 8)) for _ in range(4)))
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    x = torch.randn(2, 8)
    plain = small(x)
    with limits.scale_residuals(small, 1e-6, inputs=x) as scaled:
        assert scaled.branches == ("0.branch", "1.branch", "2.branch", "3.branch")
        torch.testing.assert_close(small(x), x, rtol=1e-4, atol=1e-4)
    assert torch.equal(small(x), plain)


# The first version of sharding wants an accelerator, whatever the process group.
NEEDS_ACCELERATOR = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="FSDP1 needs an accelerator"
)
SHARDED = """
import os, sys, tempfile, torch, limits, torch.distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from tests import model_zoo as zoo

torch.manual_seed(0)
store = dist.FileStore(os.path.join(tempfile.mkdtemp(), "store"), 1)
dist.init_process_group("gloo" if sys.argv[1] == "2" else "nccl", store=store, rank=0, world_size=1)
model, x = zoo.encoder(2, dropout=0.0).eval(), torch.randn(2, 3, 16)
limits.scale_residuals(model, 0.5, inputs=x)
expected = model(x)
limits.scaled_residuals(model).remove()
if sys.argv[1] == "2":
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
else:
    model = FullyShardedDataParallel(model, device_id=0, use_orig_params=sys.argv[1] == "1o")
    x, expected = x.cuda(), expected.cuda()
scaled = limits.scale_residuals(model, 0.5, inputs=x)
assert torch.allclose(model(x), expected, atol=1e-6)
print(scaled.depth, scaled.branches[0])
dist.destroy_process_group()
"""


@pytest.mark.thorough
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distribution")
@pytest.mark.parametrize(
    "version", ["2", *(pytest.param(old, marks=NEEDS_ACCELERATOR) for old in ("1", "1o"))]
)
def test_sharded_models_are_scaled(version):
    command = [sys.executable, "-W", "ignore", "-c", SHARDED, version]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[0] == "4"
    assert found.stdout.split()[1].endswith("layers.0.dropout1")
