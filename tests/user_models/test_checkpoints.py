"""Checkpoints are read a part at a time, shards as one network, and nobody's code is run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import limits
from limits.reports.checkpoints import read_checkpoints
from limits.user_models.weights.stored_tensors import stored_tensors

PATTERN = "m.layers.{}.w"


def smooth(depth=48, width=16):
    time = torch.linspace(0, 1, depth)[:, None, None]
    a, b = torch.randn(2, width, width, generator=torch.Generator().manual_seed(0))
    return a * torch.cos(3 * time) + b * time


def rough(depth=48, width=16, seed=0):
    return torch.randn(depth, width, width, generator=torch.Generator().manual_seed(seed))


def named(values, pattern=PATTERN, start=0):
    return {pattern.format(k): each.clone() for k, each in enumerate(values, start)}


def save_shards(folder, values, *, cut=20):
    """Write two shards and their index."""
    files = [folder / f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    parts = named(values[:cut]), named(values[cut:], start=cut)
    weight_map = {}
    for file, part in zip(files, parts, strict=True):
        save_file(part, file)
        weight_map |= dict.fromkeys(part, file.name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return files, index


@pytest.mark.parametrize("way", ["files", "index", "folder"])
def test_shards_are_one_network(tmp_path, way):
    files, index = save_shards(tmp_path, smooth())
    sources = {"files": files, "index": [index], "folder": [tmp_path]}[way]
    found = read_checkpoints(sources, PATTERN)
    assert found.verdict == "smooth"
    assert found.together is None
    assert [each.depth for each in found.networks] == [48]
    given = sources if len(sources) > 1 else sources[0]
    assert torch.equal(limits.read_layers(given, PATTERN), smooth())


def test_networks_of_several_depths_stay_several(tmp_path):
    files = [tmp_path / f"deep{depth}.safetensors" for depth in (32, 64)]
    for file, depth in zip(files, (32, 64), strict=True):
        save_file(named(rough(depth)), file)
    found = read_checkpoints(files, PATTERN)
    assert [each.depth for each in found.networks] == [32, 64]
    with pytest.raises(limits.LimitsError, match="not shards of one network"):
        limits.read_layers(files, PATTERN)


def test_shards_that_are_not_there_are_named(tmp_path):
    files, index = save_shards(tmp_path, smooth())
    files[1].unlink()
    with pytest.raises(limits.LimitsError, match=r"1 of them are not beside it.*00002-of-00002"):
        limits.read_layers(index, PATTERN)
    index.write_text('{"architectures": ["Llama"]}')
    with pytest.raises(limits.LimitsError, match="no index of a checkpoint in shards"):
        limits.read_layers(index, PATTERN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(limits.LimitsError, match="holds no checkpoint"):
        limits.read_layers(tmp_path / "empty", PATTERN)


def test_an_index_reads_no_file_outside_its_folder(tmp_path):
    save_file(named(rough()), tmp_path / "secret.safetensors")
    (tmp_path / "model").mkdir()
    index = tmp_path / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "../secret.safetensors"}}))
    with pytest.raises(limits.LimitsError, match="Download all shards"):
        limits.read_layers(index, PATTERN)


def test_only_the_matrices_of_all_branches_speak_for_the_network(tmp_path):
    def said(weights, pattern="layers.{}.q.weight"):
        file = tmp_path / "model.safetensors"
        save_file(weights, file)
        return read_checkpoints([file], pattern).meaning

    q, up = (f"layers.{{}}.{name}.weight" for name in ("q", "up"))
    agree = named(rough(), q) | named(rough(seed=1), up)
    assert said(agree).endswith("all 2 matrices of these layers that the checkpoint holds: "
                                "the network is SDE-like")  # fmt: skip
    differ = named(rough(), q) | named(smooth(), up)
    assert "the network" not in said(differ)
    assert f"{up} is smooth" in said(differ)
    gains = named(smooth(width=16)[:, 0], "layers.{}.norm.weight") | agree
    assert "no matrices, and say nothing" in said(gains, "layers.{}.norm.weight")
    adapter = named(rough(), "layers.{}.q.lora_A.weight")
    assert "an adapter, and say nothing" in said(adapter, "layers.{}.q.lora_A.weight")


def test_twelve_layers_are_enough_to_say_something(tmp_path):
    save_file(named(rough(12, 64)), tmp_path / "small.safetensors")
    found = read_checkpoints([tmp_path / "small.safetensors"], PATTERN)
    assert found.verdict == "rough"
    assert found.networks[0].hurst == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "float8_e5m2"])
@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (4,), ()])
def test_parts_of_files_are_what_was_written(tmp_path, dtype, shape):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    value = drawn.to(getattr(torch, dtype))
    save_file({"a": torch.zeros(3), "w": value}, tmp_path / "w.safetensors")
    torch.save({"w": value, "a": 3}, tmp_path / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        stored = stored_tensors(tmp_path / file)["w"]
        assert stored.shape == shape
        assert torch.equal(stored.read().double(), value.double())
        parts = [stored.read(k, k + 1).flatten() for k in range(stored.rows)]
        assert torch.equal(torch.cat(parts).double(), value.flatten().double())


def test_what_torch_wrote_before_it_wrote_archives_is_read(tmp_path):
    torch.save(named(rough()), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(limits.read_layers(tmp_path / "old.pt", PATTERN), rough())


def test_a_file_of_gguf_is_read_by_its_package_or_refused_with_the_remedy(tmp_path):
    file = tmp_path / "model.gguf"
    try:
        import gguf
    except ImportError:
        file.write_bytes(b"GGUF")
        with pytest.raises(limits.LimitsError, match="pip install gguf"):
            limits.read_layers(file, "blk.{}.w")
        return
    writer = gguf.GGUFWriter(file, "llama")
    values = rough(8, 64).numpy().astype(np.float32)
    for k, value in enumerate(values):
        kind = gguf.GGMLQuantizationType.Q8_0 if k % 2 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(value, kind) if k % 2 else value
        writer.add_tensor(f"blk.{k}.w", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = limits.read_layers(file, "blk.{}.w")
    assert found.shape == (8, 64, 64)
    # Eight bits a number: rounded by at most a 254th of the largest of 32.
    assert np.abs(found.numpy() - values).max() < np.abs(values).max() / 127
    file.write_bytes(b"GGUFbroken")
    with pytest.raises(limits.LimitsError, match="is not a GGUF file"):
        limits.read_layers(file, "blk.{}.w")


MEASURE = """
import resource, sys
from pathlib import Path
import torch
import limits
from limits.reports.checkpoints import read_checkpoints
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
way, file, small = sys.argv[1:]
def measure(file):
    if way == "stack":
        return limits.weight_regularity(limits.read_layers(file, "l.{}.w"))
    return read_checkpoints([Path(file)], "l.{}.w").networks[0]
measure(small)
before = peak()
found = measure(file)
print(found.hurst, peak() - before, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""


def measured_apart(tmp_path, way, layers, width):
    """Return index, bytes above the interpreter and seconds of a stack in bfloat16."""
    big, small = tmp_path / "big.safetensors", tmp_path / "small.safetensors"
    for file, size in ((small, 64), (big, width)):
        drawn = [torch.randn(size, size, dtype=torch.bfloat16) for _ in range(layers)]
        save_file({f"l.{k}.w": each for k, each in enumerate(drawn)}, file)
    command = [sys.executable, "-c", MEASURE, way, str(big), str(small)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd())
    hurst, more, seconds = map(float, done.stdout.split())
    return hurst, more, seconds


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
@pytest.mark.thorough
def test_the_command_needs_less_memory_than_two_layers(tmp_path):
    hurst, more, _ = measured_apart(tmp_path, "file", layers=12, width=2800)
    assert hurst == pytest.approx(0.5, abs=0.01)
    assert more < 2 * 2800**2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stack", "file"])
def test_the_matrices_of_a_llama_take_less_than_a_minute_and_two_gigabytes(tmp_path, way):
    hurst, more, seconds = measured_apart(tmp_path, way, layers=32, width=4096)
    assert hurst == pytest.approx(0.5, abs=0.001)
    assert more < 2e9
    assert seconds < 60
