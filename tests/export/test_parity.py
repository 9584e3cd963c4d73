"""The gate lets through what agrees with the checkpoint, and names what does not."""

import dataclasses

import pytest
import torch

from kohonen_tokenizer.export.errors import ExportError, ParityError
from kohonen_tokenizer.export.formats import FORMATS, CapturedGraph, GraphFormat, WrittenGraphs
from kohonen_tokenizer.export.graphs import DecoderGraph, EncoderGraph
from kohonen_tokenizer.export.parity import NUM_IMAGES, check_parity
from kohonen_tokenizer.export.parity_images import noise_images, smooth_images

IMAGES = smooth_images(NUM_IMAGES, size=16)


def graphs_that(model, *, encode=None, decode=None):
    """The checkpoint itself as both graphs, with `encode` and `decode` laid over what they give."""

    def read(content):
        if content == b"encoder":
            return lambda pixels: (encode or (lambda tokens: tokens))(model.encode(pixels)["tokens"].int())
        return lambda tokens: (decode or (lambda pixels: pixels))(model.decode({"tokens": tokens}))

    format_ = GraphFormat(name="fake", suffix="fake", write=lambda graph: b"", read=read)
    return [WrittenGraphs(format=format_, encoder=b"encoder", decoder=b"decoder")]


def test_all_formats_agree_with_the_checkpoint(model, written, test_images):
    parity = check_parity(model, written=written, images=test_images)
    assert parity.formats == ("onnx", "torchscript", "torch_export")
    assert parity.batches == (1, 2, 17)
    # Three formats; as many images as noise; 4 x 4 tokens each.
    assert parity.num_tokens == 3 * 2 * (1 + 2 + 17) * 16
    assert parity.equal_share > 0.999
    assert parity.max_pixel_difference <= 1


@pytest.mark.parametrize("name", [format_.name for format_ in FORMATS])
@pytest.mark.parametrize(("half", "graph"), [("encoder", EncoderGraph), ("decoder", DecoderGraph)])
def test_a_perturbed_weight_in_one_format_is_found(checkpoint, model, rewritten, name, half, graph):
    other = checkpoint.model().requires_grad_(False)
    getattr(other, half).layers[-1].weight += 0.1
    written = rewritten(name, **{half: graph(other, image_size=16)})
    with pytest.raises(ParityError, match=rf"^{name} {half}, batch of \d+: .* differ"):
        check_parity(model, written=written, images=IMAGES)


def test_tokens_that_differ_are_counted(model):
    def change_three(tokens):
        if len(tokens) == 17:
            tokens[4, 0, :3] = (tokens[4, 0, :3] + 1) % 12
        return tokens

    with pytest.raises(
        ParityError, match=r"^fake encoder, batch of 17: 3 of 272 tokens differ .* top-2 margin of 1e-05;"
    ):
        check_parity(model, written=graphs_that(model, encode=change_three), images=IMAGES)


@pytest.mark.parametrize("token", [-1, 12])
def test_a_token_that_is_no_code_is_found(model, token):
    def first_becomes(tokens):
        tokens[0, 0, 0] = token
        return tokens

    with pytest.raises(ParityError, match="1 of 16 tokens differ"):
        check_parity(model, written=graphs_that(model, encode=first_becomes), images=IMAGES)


def twins(model, *, stretch):
    """Make code 11 a stretched copy of the code that the images use most; returns that one."""
    common = int(model.encode(IMAGES)["tokens"].flatten().mode().values)
    assert common != 11
    model.quantizer.codebook[11] = model.quantizer.codebook[common] * stretch
    return common


def always_the_twin(common):
    return lambda tokens: torch.where(tokens == common, 11, tokens).int()


def test_twin_codes_may_be_taken_for_one_another(model):
    common = twins(model, stretch=1)
    parity = check_parity(model, written=graphs_that(model, encode=always_the_twin(common)), images=IMAGES)
    assert 0 < parity.equal_share < 1
    assert parity.num_inside_margin >= round((1 - parity.equal_share) * parity.num_tokens)


def test_codes_outside_the_margin_of_one_another_may_not(model):
    common = twins(model, stretch=1.1)
    with pytest.raises(ParityError, match="fake encoder"):
        check_parity(model, written=graphs_that(model, encode=always_the_twin(common)), images=IMAGES)


def brighter(levels):
    return lambda pixels: (pixels.int() + levels).clamp(0, 255).to(torch.uint8)


def test_pixels_may_differ_by_one_level(model):
    assert (
        check_parity(
            model, written=graphs_that(model, decode=brighter(1)), images=IMAGES
        ).max_pixel_difference
        == 1
    )


def test_pixels_may_not_differ_by_two_levels(model):
    with pytest.raises(ParityError, match=r"fake decoder, batch of 1: pixels .* by up to 2 levels of 255"):
        check_parity(model, written=graphs_that(model, decode=brighter(2)), images=IMAGES)


def test_every_code_is_decoded(model):
    """A decoder that is wrong about the one code that no image uses is found all the same."""
    seen = []

    def look(pixels):
        seen.append(pixels)
        return pixels

    check_parity(model, written=graphs_that(model, decode=look), images=IMAGES)
    grid = (torch.arange(16) % 12).reshape(1, 4, 4)
    assert any(torch.equal(pixels, model.decode({"tokens": grid})) for pixels in seen)


def test_tokens_of_another_type_are_found(model):
    with pytest.raises(
        ParityError, match=r"gives torch\.int64 \[1, 4, 4\], and not torch\.int32 \[1, 4, 4\]"
    ):
        check_parity(model, written=graphs_that(model, encode=torch.Tensor.long), images=IMAGES)


def test_a_graph_of_one_batch_size_is_found(model, written):
    graph = EncoderGraph(model, image_size=16)
    fixed = CapturedGraph(module=graph, program=torch.export.export(graph, (*graph.example_inputs(),)))
    bad = dataclasses.replace(written[2], encoder=written[2].format.write(fixed))
    with pytest.raises(ParityError, match=r"^torch_export encoder, batch of 1: it does not run \(") as caught:
        check_parity(model, written=[bad], images=IMAGES)
    assert "\n" not in str(caught.value)


def test_a_model_that_has_diverged_is_not_exported(model):
    model.encoder.layers[0].bias.fill_(torch.nan)
    with pytest.raises(ParityError, match="16 of 16 tokens differ"):
        check_parity(model, written=graphs_that(model), images=IMAGES)


def test_too_few_images_are_refused(model):
    with pytest.raises(ExportError, match="19 images to compare on: at least 20 are needed"):
        check_parity(model, written=graphs_that(model), images=IMAGES[:19])


def test_smooth_images_are_the_same_each_time_and_smoother_than_noise():
    smooth, noise = smooth_images(20, size=32), noise_images(20, size=32)
    assert smooth.shape == noise.shape == (20, 32, 32, 3)
    assert smooth.dtype == noise.dtype == torch.uint8
    assert torch.equal(smooth, smooth_images(20, size=32))
    step = [images.float().diff(dim=2).abs().mean() for images in (smooth, noise)]
    assert 0 < step[0] < step[1] / 5
    assert smooth.float().std() > 25  # they differ from one another and from gray
