"""Settings that cannot be run are refused before anything is computed."""

import pytest

from limits.cli import main

REFUSED = [
    ("convergence", ["--depths", "8", "16"], "needs 3 different depths or more, found 2"),
    ("convergence", ["--depths", "8", "8", "16"], "needs 3 different depths"),
    ("convergence", ["--weak-depths", "8", "16"], "needs 3 different weak depths"),
    ("convergence", ["--width", "-3"], "--width -3: it must be positive"),
    ("convergence", ["--n-paths", "0"], "--n-paths 0: it must be positive"),
    ("convergence", ["--depths", "0", "8", "16"], "--depths 0: it must be positive"),
    ("marion2025.fig6", ["--depth", "0"], "--depth 0"),
    ("marion2025.fig2", ["--batches", "-1"], "--batches -1"),
    ("chizat2025.reference", ["--kept-steps", "-1", "10"], "it must be zero or more"),
    ("beyond.depth_check", ["--n-seeds", "0"], "--n-seeds 0"),
    ("beyond.depth_check", ["--learning-rate", "nan"], "--learning-rate nan: it must be a finite"),
    (
        "beyond.depth_check",
        ["--learning-rate", "-1"],
        "--learning-rate -1: it must be a finite pos",
    ),
    ("marion2025.fig4", ["--length-scale", "inf"], "--length-scale inf"),
    ("marion2025.fig1", ["--betas", "0.25", "nan"], "--betas nan: it must be a finite number"),
    ("marion2025.fig6", ["--hursts", "0.5", "1.0"], "--hursts 1: it must be a finite positive"),
    ("marion2025.fig7", ["--hursts", "0.0", "0.5"], "--hursts 0: it must be a finite positive"),
    ("marion2025.fig7", ["--shallow", "0"], "a number of layers or a count is zero"),
    ("marion2025.fig6", ["--seed", "-1"], "seed must be a non-negative integer, found -1"),
    ("marion2025.fig[67]", ["--seed", "-1"], "seed must be a non-negative integer, found -1"),
]


@pytest.mark.parametrize(("name", "flags", "message"), REFUSED)
def test_a_setting_that_cannot_be_run_is_refused_before_computing(
    name, flags, message, tmp_path, capsys
):
    out = tmp_path / "figures"
    arguments = ["run", name, "--scale", "smoke", "--workers", "0", "--out", str(out), *flags]
    assert main(arguments) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Pass " in said
    assert not out.exists()
