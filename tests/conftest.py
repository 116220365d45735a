"""Shape annotations are checked while the tests run, and torch has one thread."""

import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

import tests.helpers

# Only annotations that name a shape are checked. The others say what a careful user passes, and
# the library answers everybody else with its own errors, which these tests are about.
assert "limits" not in sys.modules, "limits was imported before its annotations could be checked"
LIMITS = Path(__file__).parents[1] / "limits"
UNWRAPPED = ("kernels",)
jaxtyping.install_import_hook(
    # numba and Triton compile functions, not what checks wrap around them.
    [f"limits.{each.stem}" for each in LIMITS.iterdir() if each.stem not in UNWRAPPED],
    f"{tests.helpers.__name__}.check_shapes",
)

# Two workers on two cores have one each, and most tensors here are too small to share.
THREADS = 1


def pytest_configure() -> None:
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _threads():
    """Give every test the same number of torch threads, whatever the one before it set."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)
