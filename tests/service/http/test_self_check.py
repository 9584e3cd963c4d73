"""What a model must do before it is served."""

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import GraphError
from kohonen_tokenizer.service.http.self_check import check_model
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer


class RiggedBackend:
    """The tiny model, with whatever a test puts around one of its halves."""

    description = "rigged"
    is_on_cpu = True
    num_parallel_runs = 1
    max_batch_size = 64

    def __init__(self, model, *, encode=None, decode=None):
        self.encode = encode or model.encode
        self.decode = decode or model.decode


@pytest.fixture
def check(tiny_bundle, tiny_model):
    """Check the tiny model with another half."""

    def check_with(**halves):
        check_model(Tokenizer(load_bundle(tiny_bundle), backend=RiggedBackend(tiny_model, **halves)))

    return check_with


def test_a_model_that_works_passes(check):
    check()


@pytest.mark.parametrize("offset", [-1, 1])
def test_tokens_out_of_range_do_not(check, tiny_model, offset):
    with pytest.raises(GraphError, match=r"tokens from .* the codebook has 0 to 11"):
        check(encode=lambda pixels: tiny_model.encode(pixels) + np.int32(offset))


def test_an_encoder_that_mixes_its_batch_does_not(check, tiny_model):
    with pytest.raises(GraphError, match="the encoder gives another result alone than in a batch: 0%"):
        check(encode=lambda pixels: np.roll(tiny_model.encode(pixels), 1, axis=0))


def test_a_decoder_that_mixes_its_batch_does_not(check, tiny_model):
    # Both ways alike, so that the tokens are the same.
    def decode(tokens):
        return np.broadcast_to(tiny_model.decode(tokens[-1:]), (len(tokens), 8, 8, 3)).copy()

    with pytest.raises(GraphError, match="the decoder gives another result alone than in a batch: pixels"):
        check(decode=decode)


def test_a_model_that_fails_fails_the_check(check):
    def fail(tokens):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        check(decode=fail)
