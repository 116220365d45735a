"""Every reader of files says when it was given what stands for the file."""

import pytest

import limits
from limits.placeholders import placeholder
from limits.user_models import read_layers

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4980\n"
ANNEX = "/annex/objects/SHA256E-s4980--0.bin\n"
PAGE = "\n<!DOCTYPE html>\n<title>Sign in</title>\n"
KINDS = [
    (LFS, r"pointer of Git LFS .* of 4,980 bytes.*git lfs pull"),
    (ANNEX, "git annex get"),
    (PAGE, "web page .* Download the file itself"),
]
READERS = {
    "model.safetensors": lambda file: read_layers(file, "layers.{}.weight"),
    "pytorch_model.bin": lambda file: read_layers(file, "layers.{}.weight"),
    "model.safetensors.index.json": lambda file: read_layers(file, "layers.{}.weight"),
    "fig1.nc": limits.sweeps.load_dataset,
    "train-images-idx3-ubyte": limits.data.read_idx,
    "train-images-idx3-ubyte.gz": limits.data.read_idx,
    "data_batch_1.bin": lambda file: limits.data.cifar10(file.parent),
}


@pytest.mark.parametrize(("content", "remedy"), KINDS, ids=["lfs", "annex", "page"])
@pytest.mark.parametrize("name", READERS)
def test_a_reader_says_what_the_file_is_and_how_to_get_the_right_one(
    name, content, remedy, tmp_path
):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(limits.LimitsError, match=rf"{name}.*{remedy}"):
        READERS[name](file)


def test_other_files_and_no_files_stand_for_nothing(tmp_path):
    assert placeholder(tmp_path / "missing") == ""
    file = tmp_path / "weights.bin"
    for content in (b"", b"\x80\x02}q\x00.", b"version 3 of the weights"):
        file.write_bytes(content)
        assert placeholder(file) == ""
