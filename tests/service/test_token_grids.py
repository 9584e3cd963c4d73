"""Token grids in JSON: integers of any size in, an array out, and nothing else is taken for an integer."""

import json

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import TokenRangeError, TokensError
from kohonen_tokenizer.service.token_grids import read_token_grids


def read(text: str) -> np.ndarray:
    return read_token_grids(text.encode(), kind="json").tokens


@pytest.mark.parametrize("shape", [(3, 2, 4), (1, 1, 1), (2, 0), (2, 3, 0), (2, 3)])
def test_lists_become_an_array_of_their_shape(shape):
    expected = np.random.default_rng(5).integers(-(2**63), 2**63 - 1, size=shape)
    tokens = read(json.dumps({"tokens": expected.tolist()}))
    assert tokens.dtype == np.int64
    assert np.array_equal(tokens, expected if expected.ndim == 3 else expected[np.newaxis])


@pytest.mark.parametrize(
    "leaf", ["true", "false", "1.0", "1e2", "null", '"1"', "{}", "[]", "[1]", '{"true": 1}']
)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_only_integers_are_integers(leaf, place):
    leaves = ["1", "2", "3", "4"]
    leaves[place] = leaf
    with pytest.raises(TokensError):
        read(f'{{"tokens": [[{", ".join(leaves[:2])}], [{", ".join(leaves[2:])}]]}}')


def test_words_of_booleans_elsewhere_do_no_harm():
    tokens = read('{"tokens": [[1, 2]], "model": "true-false"}')
    assert tokens.tolist() == [[[1, 2]]]


@pytest.mark.parametrize(
    "rows", ['["ab", "cd"]', '[["a", "b"], "cd"]', '[{"a": 1}, {"b": 2}]', '[[1, 2], "34"]']
)
def test_what_can_be_flattened_like_a_list_is_none(rows):
    with pytest.raises(TokensError):
        read(f'{{"tokens": {rows}}}')


@pytest.mark.parametrize("leaf", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_integers_beyond_63_bits_are_out_of_range(leaf):
    with pytest.raises(TokenRangeError, match="beyond 63 bits"):
        read(f'{{"tokens": [[1, {leaf}]]}}')


@pytest.mark.parametrize(
    "rows", ["[[1, 2], [3]]", "[[[1], [2]], [[1]]]", "[[1], 2]", "[[], [1]]", "[[[1]], [[]]]"]
)
def test_ragged_lists_are_refused(rows):
    with pytest.raises(TokensError):
        read(f'{{"tokens": {rows}}}')
