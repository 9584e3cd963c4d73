"""Where the images of each kind of data set are looked for, and what is said where they are missing."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from kohonen_tokenizer.training.config import DataConfig
from kohonen_tokenizer.training.data import load_splits, mean_over_sets
from kohonen_tokenizer.training.errors import DataError


def config(source, **changes):
    return DataConfig(**{"source": source, "name": "grays", "image_size": 16} | changes)


def png(level):
    """A gray image of 16 x 16."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (level,) * 3).save(content, "PNG")
    return content.getvalue()


def write_files(root, files):
    """``files``: by path, the gray level of a PNG."""
    for name, level in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(level))


def write_tar(path, files, *, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def levels(images):
    """The gray levels of images of one color each, sorted."""
    return sorted(images[:, 0, 0, 0].tolist())


def test_imagenet_is_read_from_a_folder_a_class(tmp_path):
    write_files(tmp_path, {"train/n01/a.JPEG.png": 1, "train/n02/b.png": 2, "val/n01/c.png": 3})
    splits = load_splits(config("imagenet"), tmp_path)
    assert (levels(splits.train), levels(splits.validation), splits.test) == ([1, 2], [3], None)


@pytest.mark.parametrize(
    ("source", "there", "message"),
    [
        ("imagenet", ["train/n01/a.png"], r"val: no such folder; ImageNet needs train/ and val/ .*image-net"),
        ("faces", ["celeba_hq/train/a.png"], r"celeba_hq/val: no such folder; the faces need .*stargan-v2"),
        ("faces", ["celeba_hq/train/a.png", "celeba_hq/val/b.png"], "afhq/train: no such folder"),
        ("imagenet", ["train/n01/a.txt", "val/n01/b.png"], "train: no images"),
        ("tar", ["a.png"], r'no \.tar files in it; .* use source = "folder"'),
    ],
)
def test_what_is_missing_is_named_with_where_to_get_it(tmp_path, source, there, message):
    write_files(tmp_path, dict.fromkeys(there, 0))
    with pytest.raises(DataError, match=message) as caught:
        load_splits(config(source), tmp_path)
    assert "\n" not in str(caught.value)


def test_faces_are_validated_on_two_sets_that_count_alike(tmp_path):
    files = {
        "celeba_hq/train/female/a.png": 1,
        "afhq/train/cat/b.png": 2,
        "celeba_hq/val/male/c.png": 10,
        "afhq/val/dog/d.png": 20,
        "afhq/val/dog/e.png": 40,
        "afhq/val/wild/f.png": 60,
    }
    write_files(tmp_path, files)
    splits = load_splits(config("faces"), tmp_path)
    assert levels(splits.train) == [1, 2]
    assert {name: levels(splits.validation[part]) for name, part in splits.validation_sets.items()} == {
        "celeba_hq": [10],
        "afhq": [20, 40, 60],
    }
    values = splits.validation[:, 0, 0, 0].double()
    assert mean_over_sets(values, splits.validation_sets) == (10 + 40) / 2


def test_a_folder_with_val_in_it_validates_on_that(tmp_path):
    write_files(tmp_path, {"train/a.png": 1, "train/b.png": 2, "val/c.png": 3, "test/d.png": 4})
    splits = load_splits(config("folder"), tmp_path)
    assert [levels(part) for part in (splits.train, splits.validation, splits.test)] == [[1, 2], [3], [4]]


def test_a_tar_of_folders_is_read_as_the_folders_would_be(tmp_path):
    files = {"set/train/x/a.png": png(1), "set/train/train/b.png": png(2), "set/val/x/c.png": png(3)}
    write_tar(tmp_path / "set.tar", files | {"set/train/x/a.json": b"{}"})
    splits = load_splits(config("tar"), tmp_path / "set.tar")
    assert (levels(splits.train), levels(splits.validation)) == ([1, 2], [3])


def test_webdataset_shards_are_split_by_their_names(tmp_path):
    write_tar(tmp_path / "photos-train-000000.tar", {"000.png": png(1), "000.cls": b"7"})
    write_tar(tmp_path / "photos-train-000001.tar", {"000.png": png(2)})
    write_tar(tmp_path / "photos-val-000000.tar", {"000.png": png(3)})
    write_tar(tmp_path / "test" / "000000.tar", {"000.png": png(4)})
    splits = load_splits(config("tar"), tmp_path)
    assert [levels(part) for part in (splits.train, splits.validation, splits.test)] == [[1, 2], [3], [4]]


def test_without_a_word_of_splits_some_images_are_held_out(tmp_path):
    write_tar(tmp_path / "latest.tar", {f"{number}.png": png(number) for number in range(10)})
    splits = load_splits(config("tar"), tmp_path / "latest.tar")
    assert (len(splits.train), len(splits.validation)) == (8, 2)
    assert sorted(levels(splits.train) + levels(splits.validation)) == list(range(10))


def test_a_compressed_tar_and_a_broken_member_are_named(tmp_path):
    write_tar(tmp_path / "a" / "set.tar", {"a.png": png(1)}, mode="w:gz")
    with pytest.raises(DataError, match=r"set\.tar: cannot be read as an uncompressed \.tar"):
        load_splits(config("tar"), tmp_path / "a")
    broken = {"a.png": png(1), "b.png": b"no image", "c.png": png(3)}
    write_tar(tmp_path / "b" / "set.tar", broken)
    with pytest.raises(DataError, match=r"set\.tar: set\.tar/b\.png: cannot be read as an image"):
        load_splits(config("tar", validation_share=0.4), tmp_path / "b")


def test_squash_keeps_what_crop_cuts_off(tmp_path):
    image = np.zeros((16, 48, 3), dtype=np.uint8)
    image[:, :16], image[:, 32:] = 200, 100
    (tmp_path / "train").mkdir()
    for name in ("a", "b"):
        Image.fromarray(image).save(tmp_path / "train" / f"{name}.png")
    cropped, squashed = (
        load_splits(config("folder", resize=resize, validation_share=0.5), tmp_path).train[0]
        for resize in ("crop", "squash")
    )
    assert cropped.float().mean() < 5
    assert (squashed[8, 1, 0], squashed[8, 14, 0]) == (200, 100)
    assert torch.unique(squashed).numel() > 3
