"""Random squares of the training images."""

import pytest
import torch

from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.crops import crop_corners, cut_squares
from kohonen_tokenizer.training.data import ImageSplits
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.trainer import Trainer


def test_corners_reach_every_place_and_no_further():
    corners = crop_corners(10, side=8, batch_size=300, seed=0, step=0)
    places = {tuple(corner) for corner in corners.tolist()}
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_corners_follow_from_seed_and_step():
    def corners(seed, step):
        return crop_corners(64, side=16, batch_size=32, seed=seed, step=step)

    assert torch.equal(corners(1, 5), corners(1, 5))
    assert not torch.equal(corners(1, 5), corners(1, 6))
    assert not torch.equal(corners(1, 5), corners(2, 5))


def test_squares_are_the_pixels_from_their_corners_on():
    images = torch.arange(2 * 6 * 6 * 3).reshape(2, 6, 6, 3)
    squares = cut_squares(images, corners=torch.tensor([[0, 2], [3, 1]]), side=3)
    assert torch.equal(squares[0], images[0, 0:3, 2:5])
    assert torch.equal(squares[1], images[1, 3:6, 1:4])


def test_training_sees_squares_and_validation_whole_images():
    images = torch.randint(
        256, (24, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    config = RunConfig.from_dict(
        {
            "batch_size": 8,
            "data": {"source": "folder", "name": "noise", "image_size": 64, "train_crop": 16},
            "model": {
                "architecture": "vqvae2",
                "hidden": 16,
                "residual_channels": 8,
                "code_dim": 8,
                "quantizer": {"codebook_size": 32, "map_shape": [4, 8], "initialization": "first_batch"},
            },
        }
    )
    splits = ImageSplits(train=images[:16], validation=images[16:], test=None)
    trainer = Trainer(config, splits, device=torch.device("cpu"))
    seen = []
    trainer.model.bottom_encoder.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].shape)
    )
    trainer.step()
    trainer.validate()
    # The first batch is seen twice: codes are chosen from it before it is learnt from.
    assert [tuple(shape) for shape in seen] == [(8, 3, 16, 16), (8, 3, 16, 16), (8, 3, 64, 64)]


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (72, "train_crop 72: must be 12 to the image_size, which is 64"),
        (18, "data.train_crop 18: must be a multiple of 4"),
    ],
)
def test_a_square_that_does_not_fit_is_refused(side, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict({"data": {"source": "folder", "name": "x", "image_size": 64, "train_crop": side}})
