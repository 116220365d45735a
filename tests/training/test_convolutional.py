"""Convolutional ResNets: the published sizes, blocks, recipes, and files of CIFAR-10."""

import copy
import importlib
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import limits
from limits.sweeps.experiment import PACKAGE, package_of_experiments
from limits.training.batches import epoch_order
from limits.training.conv_resnet import _Block
from limits.training.image_classifier import Augmentation

package_of_experiments()
practice = importlib.import_module(f"{PACKAGE}.zhang2022.practice")


def parameters(model):
    return sum(each.numel() for each in model.parameters())


def small(normalisation="batch", tau=0.5, blocks=(2, 1), **changes):
    settings = {"channels": (2, 4)[: len(blocks)], "image": (1, 8, 8), "n_classes": 10, "seed": 0}
    return limits.ConvResNet(blocks, tau=tau, normalisation=normalisation, **(settings | changes))


@pytest.mark.parametrize(
    ("layers", "count"), [(20, 269722), (56, 853018), (110, 1727962), (1202, 19421274)]
)
def test_published_networks_have_the_published_sizes(layers, count):
    net = limits.ConvResNet.published(layers, seed=0)
    assert parameters(net) == count
    assert net.depth == (layers - 2) // 2
    convolutions = [each for each in net.modules() if isinstance(each, torch.nn.Conv2d)]
    assert len(convolutions) == layers - 1


def test_networks_without_normalisation_have_scalars_instead():
    batch, none = limits.ConvResNet.published(20, seed=0), limits.ConvResNet.published(
        20, seed=0, normalisation="none"
    )  # fmt: skip
    norms = sum(parameters(m) for m in batch.modules() if isinstance(m, torch.nn.BatchNorm2d))
    # Four a block, one after the first convolution, and tau.
    assert parameters(none) == parameters(batch) - norms + 4 * 9 + 1 + 1
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in none.modules())


def test_a_stage_begins_with_shortcut_a():
    block = _Block(2, 4, 2, normalised=False)
    for each in block.parameters():
        torch.nn.init.zeros_(each)
    h = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    out = block(h, torch.tensor(1.0))
    assert out.shape == (3, 4, 4, 4)
    assert torch.equal(out[:, :2], torch.relu(h[:, :, ::2, ::2]))
    assert torch.equal(out[:, 2:], torch.zeros(3, 2, 4, 4))


@pytest.mark.parametrize("normalised", [True, False])
def test_tau_multiplies_the_branch(normalised):
    torch.manual_seed(0)
    block = _Block(2, 2, 1, normalised)
    h = torch.rand(3, 2, 8, 8)
    branch = block.branch(h)
    wanted = torch.relu(h + 0.25 * branch)
    assert torch.allclose(block(h, torch.tensor(0.25)), wanted, atol=1e-6)
    assert not torch.allclose(wanted, torch.relu(h), atol=1e-2)


def through_a_file(net):
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def through_a_state_dict(net):
    other = small("none", tau=0.1, seed=1).double()
    other.load_state_dict(net.state_dict())
    return other


@pytest.mark.parametrize(
    "copied", [lambda net: net, copy.deepcopy, through_a_file, through_a_state_dict]
)
def test_the_gradient_of_the_shared_tau_is_divided_by_the_depth(copied):
    net = small("none", tau=0.5).double()
    torch.nn.init.normal_(net.classifier.weight, generator=torch.Generator().manual_seed(0))
    net = copied(net)
    x = torch.rand(5, 64, generator=torch.Generator().manual_seed(1)).double()
    net(x).square().sum().backward()
    found, step = float(net.tau.grad), 1e-6
    values = []
    with torch.no_grad():
        for tau in (0.5 + step, 0.5 - step):
            net.tau.fill_(tau)
            values.append(float(net(x).square().sum()))
    assert net.depth == 3
    assert found * 3 == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_with_batch_normalisation_tau_is_not_trained():
    assert "tau" not in dict(small("batch").named_parameters())
    assert "tau" in small("batch").state_dict()
    assert "tau" in dict(small("none").named_parameters())


def test_weights_depend_on_the_seed_and_the_place_only():
    shallow, deep = small(blocks=(2,)), small(blocks=(3,))
    for one, two in zip(shallow.blocks, deep.blocks, strict=False):
        assert torch.equal(one.branch[0].weight, two.branch[0].weight)
    assert not torch.equal(deep.blocks[0].branch[0].weight, deep.blocks[1].branch[0].weight)
    assert not torch.equal(small(seed=1).stem.weight, small(seed=0).stem.weight)
    weight = limits.ConvResNet.published(20, seed=0).blocks[-1].branch[0].weight
    # 36864 normals: the standard error of their variance is 0.7 %.
    assert float(weight.detach().var()) == pytest.approx(2 / (9 * 64), rel=0.025)


def test_the_default_recipe_is_that_of_the_paper():
    recipe = practice.recipe(practice.SCALES["paper"], "batch")
    assert recipe == limits.Recipe()
    assert (recipe.epochs, recipe.batch, recipe.crop, recipe.flip) == (200, 128, 4, True)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 1e-4)
    rates = [recipe.rate(epoch) for epoch in (0, 99, 100, 149, 150, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    names = practice.axes(practice.SCALES["paper"])["network"]
    assert "batch/tau/1202" in names
    assert "batch/plain/20" in names


@pytest.mark.thorough
def test_training_is_that_of_torch():
    data = limits.data.standardised(limits.data.digits(), channels=1)
    recipe = limits.Recipe(
        epochs=2, batch=500, learning_rate=0.05, weight_decay=0.01, milestones=(1,), crop=0,
        flip=False,
    )  # fmt: skip
    ours, theirs = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)
    theirs.load_state_dict(ours.state_dict())
    trained = limits.train_classifier(ours, data, recipe, seed=2)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1])
    for epoch in range(2):
        for rows in epoch_order(1438, seed=2, epoch=epoch).split(500):
            loss = torch.nn.functional.cross_entropy(
                theirs(data.train_inputs[rows]), data.train_classes[rows]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    outputs = theirs(data.test_inputs).detach()
    wrong = (outputs.argmax(1) != data.test_classes).double().mean()
    assert float(trained.errors[-1]) == pytest.approx(float(wrong))
    missed = torch.nn.functional.cross_entropy(outputs, data.test_classes)
    assert float(trained.test_losses[-1]) == pytest.approx(float(missed), rel=1e-5)
    assert trained.diverged_at is None


@pytest.mark.thorough
def test_a_divergence_is_recorded():
    data = limits.data.standardised(limits.data.digits(), channels=1)
    recipe = limits.Recipe(epochs=2, milestones=(), crop=0, flip=False, learning_rate=1e30)
    trained = limits.train_classifier(small("none"), data, recipe, seed=0)
    assert trained.diverged_at is not None
    assert trained.diverged_at < 12
    assert torch.isnan(trained.errors).all()
    assert torch.isnan(trained.test_losses).all()


def test_a_crop_shifts_within_a_frame_of_zeros_and_a_flip_mirrors():
    image, count = (3, 5, 5), 40
    inputs = torch.rand(count, 75, generator=torch.Generator().manual_seed(0))
    change = Augmentation(limits.Recipe(crop=2), image, count, seed=0, epoch=1)
    rows = torch.arange(count - 1, -1, -1)
    found = change(inputs, rows).view(count, *image)
    framed = torch.nn.functional.pad(inputs.view(count, *image), (2, 2, 2, 2))[rows]
    seen = set()
    for got, padded in zip(found, framed, strict=True):
        matches = [
            (down, right, mirrored)
            for down in range(5)
            for right in range(5)
            for mirrored in (False, True)
            for crop in [padded[:, down : down + 5, right : right + 5]]
            if torch.equal(got, crop.flip(2) if mirrored else crop)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {down for down, _, _ in seen} == {right for _, right, _ in seen} == set(range(5))
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def write_cifar(folder, records=4):
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = rng.integers(0, 256, (records, 3073), dtype=np.uint8)
        content[:, 0] = np.arange(records) % 10
        (folder / f"{name}.bin").write_bytes(content.tobytes())


@pytest.mark.parametrize("network", ["batch/tau/20", "batch/plain/8", "none/tau/8"])
def test_the_published_configurations_run_on_files_of_cifar(tmp_path, network):
    write_cifar(tmp_path)
    config = replace(
        practice.SCALES["paper"], folder=str(tmp_path), epochs=1, unnormalised_epochs=1,
        unnormalised_rate=0.01, batch=16,
    )  # fmt: skip
    found = practice.task(config, seed=0, network=network, draw=0)
    layers = int(network.rpartition("/")[2])
    assert int(found["blocks"]) == (layers - 2) // 2
    assert found.attrs["data"] == "CIFAR-10"
    assert int(found["diverged_at"]) == -1
    assert 0 <= float(found["last_error"]) <= 1
    tau = practice.model(config, network, seed=0).tau.item()
    assert tau == pytest.approx(1.0 if "plain" in network else ((layers - 2) // 2) ** -0.5)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_images_and_their_rows_give_the_same_numbers_in_every_bit(normalisation, count):
    net = small(normalisation, image=(3, 6, 5))
    # A classifier that begins at zero would hide a difference.
    torch.nn.init.normal_(net.classifier.weight, generator=torch.Generator().manual_seed(1))
    images = torch.randn(count, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    channels_last = images.contiguous(memory_format=torch.channels_last)
    outputs = net.eval()(images)
    assert outputs.shape == (count, 10)
    assert torch.equal(net(images.flatten(1)), outputs)
    assert torch.equal(net(channels_last), outputs)


def test_training_on_images_and_on_rows_is_the_same_in_every_bit():
    data = limits.data.standardised(limits.data.digits(), channels=1)
    recipe = limits.Recipe(epochs=1, batch=500, milestones=(), learning_rate=0.05, crop=1)
    nets = small(), small()
    on_images = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), nets[1])
    rows, images = (
        limits.train_classifier(each, data, recipe, seed=3, image=(1, 8, 8))
        for each in (nets[0], on_images)
    )
    assert torch.equal(rows.losses, images.losses)
    assert torch.equal(rows.errors, images.errors)
    assert torch.isfinite(rows.losses).all()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 8), (2, 1, 8, 9), (2, 1, 7, 8), (1, 8, 8), (2, 65), (64,), (2, 1, 1, 8, 8)]
)
def test_images_of_another_shape_are_refused(shape):
    found = re.escape(str(shape))
    with pytest.raises(limits.ShapeError, match=rf"1, 8, 8\).*64\), found {found}.*image="):
        small()(torch.zeros(shape))


def test_bad_input_is_answered_with_a_remedy():
    with pytest.raises(limits.LimitsError, match="for example 20"):
        limits.ConvResNet.published(21, seed=0)
    with pytest.raises(limits.LimitsError, match="drops none"):
        small(blocks=(1, 1), channels=(4, 2))
    with pytest.raises(limits.LimitsError, match="Give every stage its channels"):
        small(blocks=(1, 1), channels=(4,))
    with pytest.raises(limits.LimitsError, match=r"L\*\*-0\.5"):
        small(tau=0.0)
    with pytest.raises(limits.LimitsError, match='"batch" or "none"'):
        small("layer")
    with pytest.raises(limits.ShapeError, match=r"\(input, 64\)"):
        small()(torch.zeros(2, 63))
    data = limits.data.digits()
    with pytest.raises(limits.LimitsError, match="crop=0, flip=False"):
        limits.train_classifier(small(), data, limits.Recipe(), seed=0)
    with pytest.raises(limits.LimitsError, match="momentum must lie"):
        limits.Recipe(momentum=1.5)
