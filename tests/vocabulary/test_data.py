"""Readers of data sets, on tiny files in the true formats."""

import gzip
import struct
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

import limits


def idx_bytes(values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_mnist(folder, *, zipped=False, n_train=6, n_test=3):
    rng = np.random.default_rng(0)
    truth = {}
    for part, count in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (count, 28, 28))
        labels = np.arange(count) % 3
        truth[part] = images, labels
        files = ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels))
        for stem, values in files:
            content = idx_bytes(values)
            name = folder / (f"{stem}.gz" if zipped else stem)
            name.write_bytes(gzip.compress(content) if zipped else content)
    return truth


def write_cifar(folder, *, records=2):
    rng = np.random.default_rng(1)
    truth = []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = rng.integers(0, 256, (records, 3073)).astype(np.uint8)
        batch[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(batch.tobytes())
        truth.append(batch)
    return truth


def test_digits_are_split_evenly_over_classes():
    data = limits.data.digits()
    assert data.train_inputs.shape == (1438, 64)
    assert float(data.train_inputs.max()) == 1.0
    counts = torch.bincount(data.test_classes, minlength=10)
    shares = counts / (counts + torch.bincount(data.train_classes, minlength=10))
    assert (shares - 0.2).abs().max() < 0.005
    both = torch.cat([data.train_inputs, data.test_inputs])
    assert len(torch.unique(both, dim=0)) == 1797


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_idx_files(tmp_path, zipped):
    truth = write_mnist(tmp_path, zipped=zipped)
    data = limits.data.mnist(tmp_path)
    for part, inputs, classes in (
        ("train", data.train_inputs, data.train_classes),
        ("t10k", data.test_inputs, data.test_classes),
    ):
        images, labels = truth[part]
        assert torch.equal((inputs * 255).round(), torch.as_tensor(images).flatten(1).float())
        assert torch.equal(classes, torch.as_tensor(labels))
    assert (data.n_classes, data.features, data.name) == (3, 784, "MNIST")


def test_an_idx_file_keeps_its_order_of_axes(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx_bytes(values))
    assert torch.equal(limits.data.read_idx(tmp_path / "a").long(), torch.as_tensor(values))


def test_cifar_is_read_from_its_binary_version(tmp_path):
    truth = write_cifar(tmp_path)
    data = limits.data.cifar10(tmp_path)
    assert data.train_inputs.shape == (10, 3072)
    assert torch.equal(data.train_classes[2:4], torch.as_tensor(truth[1][:, 0].astype(int)))
    pixels = torch.as_tensor(truth[5][:, 1:].astype(np.float32)) / 255
    assert torch.equal(data.test_inputs, pixels)


def damaged_images(folder, change):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-5], "holds 4699: it is cut off"),
        (lambda b: b + b"x", "holds 4705"),
        (lambda b: b"\x00\x00\x0d\x03" + b[4:], "begins with the bytes 00 00 0d 03"),
        (lambda b: b[:9], "inside its header. Download it again"),
        (lambda b: b"", "begins with the bytes"),
        (lambda b: idx_bytes(np.zeros((5, 28, 28))), "5 images and 6 labels"),
        (lambda b: idx_bytes(np.zeros(6)), "images and labels were not exchanged"),
        (lambda b: gzip.compress(b)[:-20], "damaged gzip file"),
    ],
)
def test_a_damaged_mnist_file_is_named_with_the_remedy(tmp_path, change, message):
    write_mnist(tmp_path)
    damaged_images(tmp_path, change)
    with pytest.raises(limits.LimitsError, match=message):
        limits.data.mnist(tmp_path)


def test_a_missing_mnist_file_is_named(tmp_path):
    with pytest.raises(limits.LimitsError, match="neither train-images-idx3-ubyte nor"):
        limits.data.mnist(tmp_path)
    with pytest.raises(limits.LimitsError, match="No such file"):
        limits.data.read_idx(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01" * 3072, "not a whole number of records of 3073"),
        (b"", "0 bytes"),
        (b"\x0b" + b"\x00" * 3072, "names class 11"),
    ],
)
def test_a_damaged_cifar_file_is_named_with_the_remedy(tmp_path, content, message):
    write_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(limits.LimitsError, match=message) as caught:
        limits.data.cifar10(tmp_path)
    assert "data_batch_3.bin" in str(caught.value)


def test_a_missing_cifar_file_says_what_to_unpack(tmp_path):
    with pytest.raises(limits.LimitsError, match=r"cifar-10-binary.tar.gz"):
        limits.data.cifar10(tmp_path)


def fake_torchvision(monkeypatch):
    class Fake:
        def __init__(self, root, *, train, download):
            if root == "empty" and not download:
                raise RuntimeError("Dataset not found")
            count = 4 if train else 2
            self.data = np.arange(count * 2 * 2 * 3, dtype=np.uint8).reshape(count, 2, 2, 3)
            self.targets = [i % 2 for i in range(count)]

    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    datasets.Fake = Fake
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_torchvision_images_get_their_channels_first(monkeypatch):
    fake_torchvision(monkeypatch)
    data = limits.data.from_torchvision("Fake", "here")
    assert (data.features, data.n_classes) == (12, 2)
    red = (data.train_inputs[0, :4] * 255).round().tolist()
    assert red == [0, 3, 6, 9]


def test_torchvision_refusals_have_remedies(monkeypatch):
    fake_torchvision(monkeypatch)
    with pytest.raises(limits.LimitsError, match="Pass download=True"):
        limits.data.from_torchvision("Fake", "empty")
    with pytest.raises(limits.LimitsError, match="for example 'MNIST'"):
        limits.data.from_torchvision("Nonsense", "empty")
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(limits.LimitsError, match=r"resnet-limits\[vision\]"):
        limits.data.from_torchvision("Fake", "here")


def test_labelled_data_checks_what_it_is_given():
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    make = limits.data.LabelledData
    with pytest.raises(limits.ShapeError, match="Flatten images"):
        make(torch.zeros(4, 3, 3), y, x, y, n_classes=2)
    with pytest.raises(limits.ShapeError, match="pass n_classes=2"):
        make(x, y, x, y, n_classes=1)
    with pytest.raises(limits.ShapeError, match="Prepare both"):
        make(x, y, torch.zeros(4, 2), y, n_classes=2)
    with pytest.raises(limits.DTypeError, match=r"x.float\(\) / 255"):
        make(x.long(), y, x, y, n_classes=2)
    with pytest.raises(limits.NonFiniteStateError, match="Clean the data"):
        make(x / 0, y, x, y, n_classes=2)
    with pytest.raises(limits.LimitsError, match=r"Use 0.2"):
        limits.data.digits(test_share=0.0)


def test_test_images_are_prepared_with_statistics_of_the_training_part():
    def shifted(prepare):
        data = limits.data.digits()
        moved = replace(data, test_inputs=data.test_inputs + 3)
        return prepare(data), prepare(moved)

    plain, moved = shifted(limits.data.unit_rows)
    mean = limits.data.digits().train_inputs.mean(dim=0)
    expected = limits.data.digits().test_inputs + 3 - mean
    expected /= expected.norm(dim=1, keepdim=True)
    assert torch.equal(plain.train_inputs, moved.train_inputs)
    assert torch.allclose(moved.test_inputs, expected, atol=1e-6)

    plain, moved = shifted(lambda data: limits.data.standardised(data, channels=1))
    step = 3 / limits.data.digits().train_inputs.std()
    assert torch.allclose(moved.test_inputs - plain.test_inputs, step, atol=1e-4)


def test_a_validation_part_is_taken_from_the_training_part_only():
    data = limits.data.digits()
    split = limits.data.validation_split(data, share=0.25)
    rows = torch.cat([split.train_inputs, split.test_inputs])
    assert torch.equal(rows.sort(dim=0).values, data.train_inputs.sort(dim=0).values)
    shares = split.test_classes.bincount() / data.train_classes.bincount()
    assert float((shares - 0.25).abs().max()) < 1 / 138
    with pytest.raises(limits.LimitsError, match=r"for example 0\.2"):
        limits.data.validation_split(data, share=1.0)
