import numpy as np
import pytest
import torch
from PIL import Image

from kohonen_tokenizer.training.config import DataConfig
from kohonen_tokenizer.training.data import batch_indices, channel_statistics, load_splits, read_folder
from kohonen_tokenizer.training.errors import DataError

FOLDER = DataConfig(source="folder", name="photo crops")


def test_folder_is_read_in_the_order_of_its_paths(photo_folder, photo_crops):
    images = read_folder(photo_folder / "train", image_size=32)
    assert torch.equal(images, torch.from_numpy(photo_crops[20:220]))


def test_splits_hold_out_a_fifth_once_and_keep_the_test_images_apart(photo_folder):
    splits = load_splits(FOLDER, photo_folder)
    again = load_splits(FOLDER, photo_folder)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (160, 40, 40)
    assert torch.equal(splits.validation, again.validation)
    together = torch.cat([splits.train, splits.validation])
    everything = read_folder(photo_folder / "train", image_size=32)
    assert sorted(image.numpy().tobytes() for image in together) == sorted(
        image.numpy().tobytes() for image in everything
    )


def test_a_plain_folder_has_no_test_images(photo_folder):
    assert load_splits(FOLDER, photo_folder / "train").test is None


def test_other_sizes_and_modes_become_square_rgb(tmp_path):
    Image.new("L", (50, 40), 77).save(tmp_path / "gray.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "small.png")
    images = read_folder(tmp_path, image_size=16)
    assert images.shape == (2, 16, 16, 3)
    assert (images[0] == 77).all()
    assert images[1].reshape(-1, 3).unique(dim=0).tolist() == [[1, 2, 3]]


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(DataError, match=r"broken\.jpg: cannot be read as an image"):
        read_folder(tmp_path, image_size=16)


def test_missing_and_empty_folders_say_so(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load_splits(FOLDER, tmp_path / "none")
    with pytest.raises(DataError, match="no images"):
        load_splits(FOLDER, tmp_path)


def test_channel_statistics_equal_numpy(photo_crops):
    mean, std = channel_statistics(torch.from_numpy(photo_crops))
    np.testing.assert_allclose(mean, photo_crops.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, photo_crops.std(axis=(0, 1, 2)), rtol=1e-6)


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    def epoch(number, seed=0):
        steps = range(number * 5, number * 5 + 5)
        return [
            index
            for step in steps
            for index in batch_indices(num_images=103, batch_size=20, seed=seed, step=step).tolist()
        ]

    assert len(set(epoch(0))) == 100
    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=1)
    with pytest.raises(DataError, match="batch_size 200: more than the 103"):
        batch_indices(num_images=103, batch_size=200, seed=0, step=0)
