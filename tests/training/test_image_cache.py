"""Decoded images on disk: decoded once, whole or not at all, and the same as in memory."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kohonen_tokenizer.training import image_cache
from kohonen_tokenizer.training.config import DataConfig
from kohonen_tokenizer.training.data import ImageSplits, load_splits
from kohonen_tokenizer.training.errors import DataError
from kohonen_tokenizer.training.prefetch import Prefetcher

FOLDER = DataConfig(source="folder", name="photo crops")


@pytest.fixture
def folder(photo_folder, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(photo_folder, tmp_path / "photos", ignore=shutil.ignore_patterns(".kohonen-cache"))


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that were decoded."""
    names = []
    decode_file = image_cache.decode_file

    def decode(file, **options):
        names.append(file.name)
        return decode_file(file, **options)

    monkeypatch.setattr(image_cache, "decode_file", decode)
    return names


def test_images_are_decoded_once(folder, decoded):
    first = load_splits(FOLDER, folder)
    assert len(decoded) == 240
    second = load_splits(FOLDER, folder)
    assert len(decoded) == 240
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_the_hash_is_that_of_the_same_images_in_memory(folder):
    splits = load_splits(FOLDER, folder)
    in_memory = ImageSplits(train=splits.train.clone(), validation=splits.validation.clone(), test=None)
    assert splits.sha256() == in_memory.sha256()
    swapped = ImageSplits(train=in_memory.validation, validation=in_memory.train, test=None)
    assert swapped.sha256() != splits.sha256()


def test_images_are_mapped_and_not_read(folder):
    splits = load_splits(FOLDER, folder)
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith("train.npy")]
    place = splits.train.data_ptr()
    assert any(int(start, 16) <= place < int(end, 16) for start, end in ranges)


@pytest.mark.parametrize("change", ["content", "new file", "another size", "another resize"])
def test_what_changes_the_images_makes_another_cache(folder, decoded, change):
    config = FOLDER
    load_splits(config, folder)
    decoded.clear()
    path = sorted((folder / "train" / "crop").iterdir())[0]
    match change:
        case "content":
            status = path.stat()
            Image.new("RGB", (32, 32), "red").save(path)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        case "new file":
            shutil.copy(path, path.with_name("new.png"))
        case "another size":
            config = DataConfig(source="folder", name="photo crops", image_size=16)
        case _:
            config = DataConfig(source="folder", name="photo crops", resize="squash")
    splits = load_splits(config, folder)
    assert len(decoded) == len(splits.train) + len(splits.validation) + len(splits.test)


def test_what_is_interrupted_leaves_no_cache(folder, monkeypatch):
    target = sorted((folder / "train" / "crop").iterdir())[50]
    good = target.read_bytes()
    target.write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(DataError, match=rf"{target.name}: cannot be read as an image") as caught:
        load_splits(FOLDER, folder)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in (folder / ".kohonen-cache").iterdir()] == ["lock"]
    target.write_bytes(good)
    assert len(load_splits(FOLDER, folder).train) == 160


def test_a_full_disk_says_how_much_is_needed_and_the_way_out(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(DataError, match=r"cannot hold the 0\.0 GB .*No space left.* with --cache"):
        load_splits(FOLDER, folder)


def test_the_cache_may_lie_elsewhere(folder, tmp_path):
    load_splits(FOLDER, folder, cache=tmp_path / "cache")
    assert not (folder / ".kohonen-cache").exists()
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert sorted(path.name for path in entry.iterdir()) == [
        "cache.json",
        "test.npy",
        "train.npy",
        "validation.npy",
    ]


def test_other_sizes_and_modes_become_square_rgb(tmp_path):
    for name in ("a", "b"):
        Image.new("L", (50, 40), 77).save(tmp_path / f"{name}.png")
    config = DataConfig(source="folder", name="x", image_size=16, validation_share=0.5)
    images = load_splits(config, tmp_path).train
    assert images.shape == (1, 16, 16, 3)
    assert (images == 77).all()


def test_batches_come_ahead_of_their_use_and_of_the_step_asked_for():
    asked = []

    def gather(step):
        asked.append(step)
        return images[step : step + 2]

    images = torch.arange(40, dtype=torch.uint8).reshape(20, 1, 1, 2)
    prefetcher = Prefetcher(gather, pin_memory=False)
    assert torch.equal(prefetcher.batch(3), images[3:5])
    assert torch.equal(prefetcher.batch(4), images[4:6])
    assert torch.equal(prefetcher.batch(9), images[9:11]), "a resumed run begins somewhere else"
    assert torch.equal(prefetcher.batch(10), images[10:12])
    assert asked[:3] == [3, 4, 5]
    assert len(set(asked)) == len(asked), "no batch is made twice"
    assert prefetcher.waited_s > 0
