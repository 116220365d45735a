import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from limits.exceptions import ExperimentError
from limits.sweeps import experiment_name, load_dataset, run, save_dataset, scale_name, tasks


@dataclass(frozen=True)
class Config:
    widths: tuple[int, ...] = (40, 8)
    laws: tuple[str, ...] = ("smooth", "brownian")
    depths: tuple[int, ...] = (4, 8, 16)


def axes(config):
    return {"law": config.laws, "width": config.widths}


def task(config, *, seed, law, width):
    depths = np.array(config.depths)
    return xarray.Dataset(
        {
            "error": ("depth", len(law) + width / depths, {"long_name": "strong error"}),
            "drawn_with": seed,
        },
        coords={"depth": depths},
    )


def experiment(**parts):
    usual = {
        "__name__": "limits.experiments.marion2025.fig7",
        "SCALES": {"smoke": Config(depths=(4,)), "laptop": Config()},
        "axes": axes,
        "task": task,
    }
    return SimpleNamespace(**(usual | parts))


def test_axes_come_first_and_keep_their_declared_order():
    dataset = run(experiment(), Config(), seed=0)
    assert dataset.error.dims == ("law", "width", "depth")
    assert dataset.drawn_with.dims == ("law", "width")
    assert list(dataset.law.values) == ["smooth", "brownian"]
    assert list(dataset.width.values) == [40, 8]
    assert dataset.error.attrs["long_name"] == "strong error"


def test_every_value_lands_at_its_own_coordinates():
    dataset = run(experiment(), Config(), seed=5)
    for one in tasks(axes(Config()), seed=5):
        expected = task(Config(), seed=one.seed, **one.coordinates)
        found = dataset.sel(one.coordinates)
        np.testing.assert_array_equal(found.error, expected.error)
        assert int(found.drawn_with) == one.seed


def test_a_result_survives_the_store(tmp_path):
    dataset = run(experiment(), Config(), seed=0)
    save_dataset(dataset, tmp_path / "result.nc")
    back = load_dataset(tmp_path / "result.nc")
    xarray.testing.assert_identical(back.drop_attrs(), dataset.drop_attrs())


def test_more_tasks_do_not_change_the_numbers_of_others():
    small = run(experiment(), Config(widths=(8,)), seed=0)
    large = run(experiment(), Config(widths=(8, 40, 100)), seed=0)
    np.testing.assert_array_equal(small.drawn_with, large.drawn_with.sel(width=[8]))


def test_tasks_may_cover_different_depths_and_variables():
    def uneven(config, *, seed, law, width):
        dataset = task(config, seed=seed, law=law, width=width)
        if law == "brownian":
            return dataset.isel(depth=[0, 1])
        return dataset.assign(closed_form=("depth", np.ones(3)))

    dataset = run(experiment(task=uneven), Config(), seed=0)
    assert list(dataset.depth.values) == [4, 8, 16]
    assert np.isnan(dataset.error.sel(law="brownian", depth=16)).all()
    assert np.isnan(dataset.closed_form.sel(law="brownian")).all()
    assert (dataset.closed_form.sel(law="smooth") == 1).all()


def test_the_type_of_one_task_does_not_cut_the_values_of_others(tmp_path):
    def mixed(config, *, seed, law, width):
        value = 20 if width == 40 else 1.8
        return xarray.Dataset({"value": value, "name": law * width})

    dataset = run(experiment(task=mixed), Config(), seed=0)
    save_dataset(dataset, tmp_path / "result.nc")
    back = load_dataset(tmp_path / "result.nc")
    assert list(back.value.sel(law="smooth").values) == [20, 1.8]
    assert back.name.sel(law="brownian", width=40).item() == "brownian" * 40


def test_an_experiment_without_axes_is_one_task():
    dataset = run(
        experiment(axes=lambda config: {}, task=lambda config, *, seed: xarray.Dataset({"a": 1})),
        Config(),
        seed=0,
    )
    assert dataset.a.dims == ()
    assert dataset.attrs["seconds_per_task"].shape == (1,)


def test_a_task_may_repeat_its_own_coordinates():
    def with_scalar(config, *, seed, law, width):
        return task(config, seed=seed, law=law, width=width).assign_coords(law=law)

    assert run(experiment(task=with_scalar), Config(), seed=0).error.dims[0] == "law"


def test_provenance_tells_where_the_numbers_come_from():
    attributes = run(experiment(), Config(), seed=11).attrs
    assert attributes["experiment"] == "marion2025.fig7"
    assert attributes["scale"] == "laptop"
    assert attributes["seed"] == 11
    assert json.loads(attributes["config"]) == {
        "widths": [40, 8],
        "laws": ["smooth", "brownian"],
        "depths": [4, 8, 16],
    }
    versions = json.loads(attributes["versions"])
    assert {"limits", "streams", "torch", "numpy", "torchsde", "torchdiffeq", "python"} <= set(
        versions
    )
    assert "unknown" not in versions.values()
    assert attributes["cpu"]
    assert attributes["platform"]
    assert len(attributes["seconds_per_task"]) == 4


def test_provenance_holds_no_folder_of_this_machine():
    attributes = run(experiment(), Config(), seed=0).attrs
    for value in attributes.values():
        assert "/" not in str(value)


def test_changed_settings_are_recorded_as_custom():
    assert scale_name(experiment(), Config(depths=(4,))) == "smoke"
    assert scale_name(experiment(), Config(depths=(5,))) == "custom"


def test_an_experiment_is_named_after_its_module():
    assert experiment_name(experiment()) == "marion2025.fig7"
    assert experiment_name(experiment(__name__="experiments.convergence")) == "convergence"


def test_progress_counts_tasks_and_names_the_current_one():
    seen = []
    run(experiment(), Config(laws=("smooth",)), seed=0, progress=lambda *call: seen.append(call))
    assert seen == [
        (0, 2, "law=smooth width=40"),
        (1, 2, "law=smooth width=40"),
        (1, 2, "law=smooth width=8"),
        (2, 2, "law=smooth width=8"),
    ]


def test_a_task_can_report_from_the_inside():
    def reporting(config, *, seed, law, width, progress):
        for layer in (256, 512):
            progress(layer, 512, f"layer {layer}")
        return task(config, seed=seed, law=law, width=width)

    seen = []
    run(
        experiment(task=reporting),
        Config(laws=("smooth",)),
        seed=0,
        progress=lambda *call: seen.append(call),
    )
    done = [call[0] for call in seen]
    assert done == sorted(done)
    assert (0.5, 2, "law=smooth width=40 layer 256") in seen
    assert [value for value in done if value == int(value)] == [0, 1, 1, 2]


def test_a_task_that_reports_may_run_without_anyone_listening():
    def reporting(config, *, seed, law, width, progress):
        progress(1, 0, "nothing to do")
        return task(config, seed=seed, law=law, width=width)

    assert "error" in run(experiment(task=reporting), Config(), seed=0)


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ({"task": lambda config, **_: 3.0}, r"returned float\. Return an xarray\.Dataset"),
        ({"task": lambda config, **_: xarray.Dataset({"law": 1.0})}, "Rename one of the two"),
        (
            {"task": lambda config, **_: xarray.Dataset({"a": ("width", [1.0])})},
            "Rename one of the two",
        ),
        ({"axes": lambda config: {"law": []}}, "at least one value"),
    ],
)
def test_an_unusable_experiment_is_refused_with_a_remedy(part, remedy):
    with pytest.raises(ExperimentError, match=remedy):
        run(experiment(**part), Config(), seed=0)


def test_tasks_that_do_not_fit_together_are_refused_with_a_remedy():
    def clashing(config, *, seed, law, width):
        return xarray.Dataset({"a": ("layer", np.zeros(width))})

    with pytest.raises(ExperimentError, match="same dimensions for the same variable"):
        run(experiment(task=clashing), Config(), seed=0)


@pytest.mark.parametrize("config", [{"depths": (4, 8)}, Config, None])
def test_a_config_must_be_a_dataclass_instance(config):
    with pytest.raises(ExperimentError, match="instance of a frozen dataclass"):
        run(experiment(), config, seed=0)
