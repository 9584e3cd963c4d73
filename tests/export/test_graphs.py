"""The graphs as modules: the checkpoint's arithmetic, and nothing else of the checkpoint."""

import pytest
import torch

from kohonen_tokenizer.export.graphs import DecoderGraph, EncoderGraph


def test_encoder_gives_the_checkpoints_tokens_as_int32(model, test_images):
    tokens = EncoderGraph(model, image_size=16)(test_images)
    assert tokens.dtype == torch.int32
    assert torch.equal(tokens, model.encode(test_images)["tokens"].int())
    assert len(tokens.unique()) > 3  # else equality would say little


def test_decoder_gives_the_checkpoints_pixels(model, test_images):
    tokens = model.encode(test_images)["tokens"].int()
    pixels = DecoderGraph(model, image_size=16)(tokens)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, model.decode({"tokens": tokens}))


@pytest.mark.parametrize(("graph", "half"), [(EncoderGraph, "encoder"), (DecoderGraph, "decoder")])
def test_a_graph_holds_its_own_half_and_a_codebook_only(model, graph, half):
    names = set(graph(model, image_size=16).state_dict())
    layers = {f"model.{name}" for name in model.state_dict() if name.startswith(half)}
    assert names == layers | {"codebooks.tokens", "model.pixel_mean", "model.pixel_std"}


def test_a_graph_is_apart_from_the_model_it_was_made_of(model, test_images):
    graph = EncoderGraph(model, image_size=16)
    before = graph(test_images)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.zero_()
    assert torch.equal(graph(test_images), before)
