"""Shape annotations are checked while the tests run; the slow tests wait to be asked for."""

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
jaxtyping.install_import_hook(
    # numba compiles functions, not what checks wrap around them.
    [f"limits.{each.stem}" for each in LIMITS.iterdir() if each.stem != "compiled"],
    f"{tests.helpers.__name__}.check_shapes",
)

THREADS = 2


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes a minute or more; run with -m slow")
    torch.set_num_threads(THREADS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes a minute or more; run with -m slow"))


@pytest.fixture(autouse=True)
def _threads():
    """Give every test the same number of torch threads, whatever the one before it set."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)
