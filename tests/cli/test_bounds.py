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
    assert "Pass for example" in said
    assert not out.exists()
