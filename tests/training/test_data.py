import numpy as np
import pytest
import torch

from kohonen_tokenizer.training.config import DataConfig
from kohonen_tokenizer.training.data import batch_indices, channel_statistics, load_splits
from kohonen_tokenizer.training.errors import DataError

FOLDER = DataConfig(source="folder", name="photo crops")


def test_splits_hold_out_a_fifth_once_and_keep_the_test_images_apart(photo_folder, photo_crops):
    splits = load_splits(FOLDER, photo_folder)
    again = load_splits(FOLDER, photo_folder)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (160, 40, 40)
    assert torch.equal(splits.validation, again.validation)
    together = torch.cat([splits.train, splits.validation]).numpy()
    assert sorted(map(bytes, together)) == sorted(map(bytes, photo_crops[20:220]))
    assert torch.equal(splits.test, torch.from_numpy(np.delete(photo_crops, slice(20, 220), axis=0)))


def test_a_plain_folder_has_no_test_images(photo_folder):
    assert load_splits(FOLDER, photo_folder / "train").test is None


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
