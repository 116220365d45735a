import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray

from limits.exceptions import StoreError
from limits.sweeps import load_dataset, prepare_folder, save_dataset, write_bytes


@pytest.fixture
def dataset():
    return xarray.Dataset(
        {"error": (("law", "depth"), np.array([[0.5, np.nan], [0.1, 1e-300]]))},
        coords={"law": ["brownian", "smooth"], "depth": [8, 16]},
        attrs={"experiment": "convergence", "seed": 0, "seconds_per_task": np.array([1.5, 2.0])},
    )


def fail_with(code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    return refuse


def interrupt(*arguments):
    raise KeyboardInterrupt


def write_half_and_fail(real_write, code):
    def write(descriptor, payload):
        if len(payload) > 1:
            return real_write(descriptor, payload[: len(payload) // 2])
        raise OSError(code, os.strerror(code))

    return write


def test_a_dataset_is_read_back_as_it_was_written(tmp_path, dataset):
    save_dataset(dataset, tmp_path / "result.nc")
    back = load_dataset(tmp_path / "result.nc")
    xarray.testing.assert_identical(back.drop_attrs(), dataset.drop_attrs())
    assert back.attrs["experiment"] == "convergence"
    assert back.attrs["seed"] == 0
    assert list(back.attrs["seconds_per_task"]) == [1.5, 2.0]
    assert os.listdir(tmp_path) == ["result.nc"]


def test_a_loaded_dataset_no_longer_needs_its_file(tmp_path, dataset):
    path = tmp_path / "result.nc"
    save_dataset(dataset, path)
    back = load_dataset(path)
    path.unlink()
    assert float(back.error.sel(law="smooth", depth=8)) == 0.1


def test_an_existing_file_is_replaced(tmp_path):
    write_bytes(tmp_path / "file", b"old")
    write_bytes(tmp_path / "file", b"new and longer")
    assert (tmp_path / "file").read_bytes() == b"new and longer"


def test_a_written_file_has_ordinary_permissions(tmp_path):
    write_bytes(tmp_path / "file", b"numbers")
    (tmp_path / "ordinary").write_bytes(b"numbers")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_write_in_small_pieces_is_completed(tmp_path, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda where, what: real_write(where, what[:3]))
    write_bytes(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("step", ["write", "half", "fsync", "open"])
def test_a_full_disk_leaves_no_half_written_file(tmp_path, monkeypatch, dataset, step):
    path = tmp_path / "result.nc"
    write_bytes(path, b"the result of last week")
    if step == "half":
        monkeypatch.setattr(os, "write", write_half_and_fail(os.write, errno.ENOSPC))
    else:
        monkeypatch.setattr(os, step, fail_with(errno.ENOSPC))
    with pytest.raises(
        StoreError, match=r"cannot write [\d,]+ bytes .* bytes are free there\)"
    ) as e:
        save_dataset(dataset, path)
    monkeypatch.undo()
    assert "Free some space" in str(e.value)
    assert path.read_bytes() == b"the result of last week"
    assert os.listdir(tmp_path) == ["result.nc"]


@pytest.mark.parametrize("step", ["os.write", "os.fsync", "pathlib.Path.replace"])
def test_an_interrupt_while_writing_leaves_no_half_written_file(tmp_path, monkeypatch, step):
    path = tmp_path / "figure.png"
    write_bytes(path, b"the figure of last week")
    monkeypatch.setattr(step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"a new figure")
    monkeypatch.undo()
    assert path.read_bytes() == b"the figure of last week"
    assert os.listdir(tmp_path) == ["figure.png"]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    path = tmp_path / "file"
    versions = [bytes([version]) * 200_000 for version in range(20)]
    write_bytes(path, versions[0])
    seen = set()
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        write_bytes(path, version)
    done.set()
    reader.join()
    assert seen <= set(versions)


def test_a_path_below_a_file_is_refused_before_and_while_writing(tmp_path, dataset):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="choose another folder"):
        save_dataset(dataset, tmp_path / "file" / "result.nc")
    with pytest.raises(StoreError, match="choose another folder"):
        prepare_folder(tmp_path / "file" / "data")
    with pytest.raises(StoreError, match="choose another folder"):
        prepare_folder(tmp_path / "file")


def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", fail_with(errno.EROFS))
    with pytest.raises(StoreError, match=r"read-only file system.*may write to"):
        prepare_folder(tmp_path)
    assert os.listdir(tmp_path) == []


def test_preparing_a_folder_makes_it_and_leaves_it_empty(tmp_path):
    prepare_folder(tmp_path / "figures" / "data")
    assert os.listdir(tmp_path / "figures" / "data") == []


def test_a_missing_folder_is_named_with_a_remedy(tmp_path):
    with pytest.raises(StoreError, match="Make the folder first"):
        write_bytes(tmp_path / "nowhere" / "file", b"numbers")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "result.nc").mkdir()
    with pytest.raises(StoreError, match="choose another file name"):
        write_bytes(tmp_path / "result.nc", b"numbers")
    assert os.listdir(tmp_path) == ["result.nc"]


def test_a_dataset_that_netcdf_cannot_hold_is_refused_by_name(tmp_path, dataset):
    dataset["thing"] = ("depth", np.array([object(), object()]))
    with pytest.raises(StoreError, match=r"variables .*thing.*Use numbers and text"):
        save_dataset(dataset, tmp_path / "result.nc")
    assert os.listdir(tmp_path) == []


def test_an_attribute_that_netcdf_cannot_hold_is_refused(tmp_path, dataset):
    with pytest.raises(StoreError, match="Use numbers and text"):
        save_dataset(dataset.assign_attrs(config={"depth": 8}), tmp_path / "result.nc")


def test_a_missing_file_is_refused_with_those_that_are_there(tmp_path, dataset):
    save_dataset(dataset, tmp_path / "convergence.nc")
    with pytest.raises(StoreError, match=r"no such file.*holds convergence\.nc"):
        load_dataset(tmp_path / "convergense.nc")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nthe rest", b"CDF\x01older"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "file.nc"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"not a netCDF-4 file: it has {len(content)} bytes"):
        load_dataset(path)


@pytest.mark.parametrize("kept", [20, 1000, 5000])
def test_a_file_cut_short_is_refused(tmp_path, dataset, kept):
    save_dataset(dataset, tmp_path / "whole.nc")
    cut = tmp_path / "cut.nc"
    cut.write_bytes((tmp_path / "whole.nc").read_bytes()[:kept])
    with pytest.raises(StoreError, match=f"its {kept:,} bytes are damaged"):
        load_dataset(cut)


def test_a_file_with_a_damaged_header_is_refused(tmp_path, dataset):
    save_dataset(dataset, tmp_path / "whole.nc")
    content = bytearray((tmp_path / "whole.nc").read_bytes())
    content[8:40] = b"\xff" * 32
    Path(tmp_path / "damaged.nc").write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        load_dataset(tmp_path / "damaged.nc")


def test_a_folder_given_as_a_file_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is a directory"):
        load_dataset(tmp_path)
