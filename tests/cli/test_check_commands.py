import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import limits
from limits.cli import main
from limits.reports.depth_check import check_facts, check_html, check_json

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, depth, tau=1.0):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))
        self.tau = tau
        for block in self.blocks:
            nn.init.normal_(block.weight, std=32**-0.5)

    def forward(self, h):
        for block in self.blocks:
            h = h + self.tau * torch.tanh(block(h))
        return h


def plain(depth):
    return Net(depth)


def scaled(depth):
    return Net(depth, depth**-0.5)


def make_step(model, depth):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)

    def step():
        optimiser.zero_grad()
        model(batch()).square().mean().backward()
        optimiser.step()

    return step


def batch():
    return torch.ones(4, 32)


number = 3
"""
FAST = ["--depths", "4", "8", "16", "--seeds", "4", "--quiet"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with a user's module in it, and nothing of it on the path."""
    name = f"user_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])
    yield name
    sys.modules.pop(name, None)


@pytest.mark.thorough
def test_a_check_prints_a_verdict_and_writes_its_reports(models, capsys):
    files = ["--figure", "a.png", "--json", "a.json", "--html", "a.html"]
    assert main(["check", f"{models}:plain", *FAST, *files]) == 0
    out = capsys.readouterr().out
    for words in ("Verdict: explosion", "What to do", "tau = 1/sqrt(L) in", "outside of modules"):
        assert words in out
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads(Path("a.json").read_text())
    assert content["verdict"] == "explosion"
    assert content["recommendation"]["tau"] == "1/sqrt(L)"
    assert content["branches"] == [4, 8, 16]
    page = Path("a.html").read_text()
    assert "data:image/png;base64," in page
    assert "scale_residuals" in page
    # Self-contained: no scripts, and nothing is fetched.
    assert "<script" not in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("factory", "words", "status"),
    [
        ("plain", ["explosion"], 1), ("plain", ["identity", "contraction"], 0),
        ("scaled", ["explosion"], 0), ("scaled", ["limit", "explosion"], 1),
    ],
)  # fmt: skip
def test_fail_on_sets_the_exit_status(models, capsys, factory, words, status):
    assert main(["check", f"{models}:{factory}", *FAST, "--fail-on", *words]) == status
    assert ("failed:" in capsys.readouterr().out) == bool(status)


def test_targets_that_cannot_be_written_are_refused_before_computing(models, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (".", "file/a.json"):
        assert main(["check", f"{models}:number", *FAST, "--json", path]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_no_verdict_can_fail_too(models, capsys):
    command = ["check", f"{models}:plain", "--depths", "4", "8", "--seeds", "3", "--quiet"]
    assert main([*command, "--fail-on", "no-verdict"]) == 1
    assert "evidence is too thin" in capsys.readouterr().out


@pytest.mark.thorough
def test_inputs_branches_exponents_and_steps_are_named(models, capsys):
    options = ["--inputs", f"{models}:batch", "--make-step", f"{models}:make_step", "--steps", "2"]
    assert main(["check", f"{models}:plain", *FAST, *options, "--betas", "0", "0.5", "1"]) == 0
    out = capsys.readouterr().out
    assert "trained" in out
    assert "features after one step" in out
    assert "scan of exponents" in out
    assert "the inputs given" in out


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_colon", "must be written package.module:name"),
        ("models.py:make", "names a file"),
        ("not_there_at_all:make", "there is no module 'not_there_at_all'"),
        ("{}:make_nothing", "has no 'make_nothing'. It has torch, nn, Net"),
        ("{}:number", "is a int. Name a function"),
        ("needs:make", "needs 'not_installed_thing'"),
        ("leaves:make", "cannot be imported: SystemExit"),
    ],
)
def test_targets_that_cannot_be_found_are_explained(models, capsys, tmp_path, target, message):
    (tmp_path / "needs.py").write_text("import not_installed_thing")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    assert main(["check", target.format(models), *FAST]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.thorough
def test_reports_of_a_refusal_say_why():
    check = limits.depth_check(
        lambda depth: torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            depth,
            enable_nested_tensor=False,
        ),
        depths=(2, 3),
        n_seeds=3,
    )
    assert json.loads(check_json(check))["verdict"] is None
    assert "no verdict" in check_html(check).decode()
    assert "fewer than 16 layers" in check_facts(check)["weights"]


def layers(depth, *, smooth, b=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if smooth:
        waves = torch.randn(2, 1, 8, 8, generator=generator)
        time = torch.arange(depth)[:, None, None] / depth
        values = (3 * time).cos() * waves[0] + (2 * time).sin() * waves[1]
    else:
        values = torch.randn(depth, 8, 8, generator=generator)
    return {f"net.{k}.out.weight": value.clone() for k, value in enumerate(values * depth**-b)}


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_checkpoints_of_several_depths_give_the_exponents_of_cohen_et_al(
    tmp_path, capsys, smooth, suffix
):
    files = []
    for depth in (32, 128, 512):
        files.append(str(tmp_path / f"deep{depth}{suffix}"))
        weights = layers(depth, smooth=smooth, b=0.5)
        if suffix == ".pt":
            torch.save({"epoch": 3, "state_dict": weights}, files[-1])
        else:
            save_file(weights, files[-1])
    target = str(tmp_path / "out.json")
    assert main(["check-weights", *files, "--pattern", "net.{}.out.weight", "--json", target]) == 0
    assert ("smooth" if smooth else "rough") in capsys.readouterr().out
    found = json.loads(Path(target).read_text())
    assert found["verdict"] == ("smooth" if smooth else "rough")
    assert [each["layers"] for each in found["networks"]] == [32, 128, 512]
    assert found["beta"] == pytest.approx(0.5, abs=0.1)
    expected = {"root_sum_squares": 0.0, "sqrt_quadratic_variation": -1.0 if smooth else 0.0}
    expected["variation_ratio"] = -1.0 if smooth else 0.0
    for name, slope in expected.items():
        assert found["slopes"][name] == pytest.approx(slope, abs=0.08)


def test_one_checkpoint_has_a_verdict_of_its_own(tmp_path, capsys):
    save_file(layers(64, smooth=False), tmp_path / "one.safetensors")
    command = ["check-weights", str(tmp_path / "one.safetensors"), "--pattern", "net.{}.out.weight"]
    assert main(command) == 0
    assert "independent from layer to layer" in capsys.readouterr().out


class Hostile:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"state_dict": {"w": it}}])
@pytest.mark.parametrize("plain_pickle", [True, False])
def test_a_pickle_that_would_run_code_is_refused_by_name(
    tmp_path, capsys, monkeypatch, wrap, plain_pickle
):
    monkeypatch.chdir(tmp_path)
    if plain_pickle:
        (tmp_path / "model.pt").write_bytes(pickle.dumps(wrap(Hostile())))
    else:
        torch.save(wrap(Hostile()), tmp_path / "model.pt")
    assert main(["check-weights", "model.pt", "--pattern", "net.{}.weight"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "would call posix.system" in said
    assert "safetensors" in said
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "pattern", "message"),
    [
        ("missing.pt", "net.{}.out.weight", "there is no file"),
        ("text.pt", "net.{}.out.weight", "cannot be read as weights"),
        ("text.safetensors", "net.{}.out.weight", "is not a safetensors file"),
        ("empty.pt", "net.{}.out.weight", "without tensors"),
        ("good.pt", "net.{}.in.weight", r"It has|has 'net.{}.out.weight' \(20 layers\)"),
        ("good.pt", "net.0.out.weight", "must hold {} once"),
        ("mixed.pt", "net.{}.out.weight", "choose a pattern within one stage"),
        ("few.pt", "net.{}.out.weight", "at least 6 layers"),
    ],
)
def test_checkpoints_that_do_not_fit_are_explained(tmp_path, name, pattern, message):
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    torch.save(layers(20, smooth=False), tmp_path / "good.pt")
    torch.save(layers(4, smooth=False), tmp_path / "few.pt")
    torch.save(
        layers(20, smooth=False) | {"net.20.out.weight": torch.ones(2)}, tmp_path / "mixed.pt"
    )
    with pytest.raises(limits.LimitsError, match=message):
        limits.weight_regularity(limits.read_layers(tmp_path / name, pattern))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.zeros_like, "all zero"),
        (lambda v: (10 * v).to(torch.int8), "torch.int8, as after quantisation"),
    ],
)
def test_weights_without_information_are_refused(tmp_path, capsys, change, message):
    weights = {name: change(v) for name, v in layers(24, smooth=False).items()}
    file = str(tmp_path / "weights.pt")
    torch.save(weights, file)
    assert main(["check-weights", file, "--pattern", "net.{}.out.weight"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_gaps_between_layers_are_told(tmp_path, capsys):
    weights = layers(32, smooth=False)
    del weights["net.3.out.weight"], weights["net.7.out.weight"]
    save_file(weights, tmp_path / "gap.safetensors")
    command = ["check-weights", str(tmp_path / "gap.safetensors"), "--pattern", "net.{}.out.weight"]
    assert main(command) == 0
    assert "holds no layers 3, 7" in " ".join(capsys.readouterr().out.split())
