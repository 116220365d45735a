"""What every experiment owes to the command line and to its own figure."""

import inspect

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

import limits
from limits.cli.discovery import describe, known_names, load
from tests.experiments.stored import file_of, stored

NAMES = known_names()
# The folder of Chizat also holds figures of the sequel that he is an author of.
PAPERS = {
    "marion2025": ("arXiv:2206.06929",),
    "zhang2022": ("arXiv:1903.07120",),
    "chizat2025": ("arXiv:2509.10167", "arXiv:2603.18168"),
    "beyond": ("arXiv:",),
}
# What they store are times of one machine, and their claims are about that machine.
TIMED = tuple(name for name in NAMES if name.startswith("benchmarks."))
# Bootstraps over thousands of paths, at every point of a grid.
LONG = ("chizat2025.output_error", "chizat2025.shape")
DRAWN = [
    pytest.param(name, marks=pytest.mark.thorough) if name in LONG else name
    for name in NAMES
    if name not in TIMED
]


@pytest.mark.parametrize("name", NAMES)
def test_experiment_has_the_contract_of_the_runner(name):
    module = load(name)
    assert {"smoke", "laptop"} <= set(module.SCALES) <= {"smoke", "laptop", "paper"}
    assert describe(name).endswith((".", "?"))
    assert len(module.CITATION) > 20
    parameters = inspect.signature(module.task).parameters
    for scale in module.SCALES.values():
        coordinates = module.axes(scale)
        assert set(parameters) - {"progress"} == {"config", "seed", *coordinates}
        assert all(len(values) for values in coordinates.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_paper_is_cited_for_names_it(name):
    folder = name.partition(".")[0]
    assert any(paper in load(name).CITATION for paper in PAPERS.get(folder, ("",)))


@pytest.mark.parametrize("name", DRAWN)
def test_stored_numbers_contradict_no_claim_and_are_drawn(name):
    assert file_of(name) is not None
    module, dataset = load(name), stored(name)
    verdicts = module.check(dataset)
    assert verdicts
    assert all(isinstance(each, limits.Verdict) for each in verdicts)
    assert [each for each in verdicts if each.failed] == []
    figure = module.draw(dataset)
    assert isinstance(figure, Figure)
    assert figure.axes
    plt.close(figure)
