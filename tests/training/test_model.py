import pytest
import torch

from kohonen_tokenizer.training.build import build_model
from kohonen_tokenizer.training.config import ModelConfig
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.quantizer_config import QuantizerConfig


@pytest.fixture(scope="module")
def model():
    return build_model(ModelConfig(), seed=0).eval()


def test_the_defaults_are_the_cifar10_model(model):
    images = torch.zeros(2, 3, 32, 32)
    latents = model.encoder(images)
    assert latents.shape == (2, 64, 8, 8)
    assert model.decoder(latents).shape == (2, 3, 32, 32)
    assert model.quantizer.codebook.shape == (512, 64)

    def conv(inputs, outputs, size, bias=True):
        return inputs * outputs * size**2 + (outputs if bias else 0)

    residual = 2 * (conv(128, 32, 3, bias=False) + conv(32, 128, 1, bias=False))
    encoder = conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 128, 3) + residual + conv(128, 64, 1)
    decoder = conv(64, 128, 3) + residual + conv(128, 64, 4) + conv(64, 3, 4)
    assert sum(parameter.numel() for parameter in model.parameters()) == encoder + decoder


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_model(ModelConfig(hidden=8), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.quantizer.codebook, other.quantizer.codebook)


def test_normalization_and_its_inverse(model, photo_crops):
    pixels = torch.from_numpy(photo_crops[:8])
    model.pixel_mean = torch.tensor([120.0, 121.5, 90.0])
    model.pixel_std = torch.tensor([60.0, 61.0, 70.25])
    images = model.normalize(pixels)
    assert images.shape == (8, 3, 32, 32)
    assert images[3, 1, 5, 7].item() == pytest.approx((pixels[3, 5, 7, 1].item() - 121.5) / 61.0)
    assert torch.equal(model.to_pixels(images), pixels)


def test_pixels_are_rounded_and_clamped(model):
    model.pixel_mean, model.pixel_std = torch.zeros(3), torch.ones(3)
    images = torch.tensor([-7.0, 0.4, 0.6, 254.7, 300.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert model.to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_decode_of_encode_is_the_forward_pass(model, photo_crops):
    pixels = torch.from_numpy(photo_crops[:4])
    with torch.no_grad():
        indices = model.encode(pixels)["tokens"]
        result = model(model.normalize(pixels))
        assert torch.equal(indices, result.quantized["tokens"].indices)
        difference = model.decode({"tokens": indices}).int() - model.to_pixels(result.images).int()
    assert difference.abs().max() <= 1, "the straight-through sum may round differently"


def test_a_map_that_does_not_fit_is_one_clear_error():
    with pytest.raises(
        ConfigError, match=r"model.quantizer: map shape \(5, 5\) has 25 nodes but the codebook has 512"
    ):
        build_model(ModelConfig(quantizer=QuantizerConfig(map_shape=(5, 5))), seed=0)
