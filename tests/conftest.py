"""Shape annotations are checked while the tests run, and torch has one thread."""

import sys
from pathlib import Path

import pytest
import torch

from tests.shapes import check_imports, forget_calls

# Only annotations that name a shape are checked. The others say what a careful user passes, and
# the library answers everybody else with its own errors, which these tests are about.
assert "limits" not in sys.modules, "limits was imported before its annotations could be checked"
LIMITS = Path(__file__).parents[1] / "limits"
UNWRAPPED = ("kernels",)
# numba and Triton compile functions, not what checks wrap around them.
check_imports([f"limits.{each.stem}" for each in LIMITS.iterdir() if each.stem not in UNWRAPPED])

# Two workers on two cores have one each, and most tensors here are too small to share.
THREADS = 1


def pytest_configure() -> None:
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _threads():
    """Give every test the same number of torch threads, whatever the one before it set."""
    torch.set_num_threads(THREADS)
    forget_calls()
    yield
    torch.set_num_threads(THREADS)
