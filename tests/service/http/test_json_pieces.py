"""JSON written in pieces is the JSON that is written at once."""

from dataclasses import dataclass

import numpy as np
import orjson
import pytest

from kohonen_tokenizer.service.http import json_pieces
from kohonen_tokenizer.service.http.json_pieces import write_json


@dataclass
class Named:
    name: str


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (7,), (8,), (9,), (1, 9), (9, 1), (5, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pieces_make_the_whole(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: type) -> None:
    monkeypatch.setattr(json_pieces, "MAX_VALUES", 4)
    array: np.ndarray = np.random.default_rng(0).normal(scale=100, size=shape).astype(dtype)
    content = {'a "name"': array, "text": "é", "listed": [Named("x"), 1.5, None], "nested": {"b": array}}
    assert write_json(content) == orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    assert write_json({}) == b"{}"


def test_no_piece_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def dumps(value: object) -> bytes:
        if isinstance(value, np.ndarray):
            sizes.append(value.size)
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

    monkeypatch.setattr(json_pieces, "_dumps", dumps)
    write_json(
        {"a": np.zeros((1, 3, json_pieces.MAX_VALUES // 2)), "b": np.zeros((2, json_pieces.MAX_VALUES + 1))}
    )
    assert sum(sizes) == 3 * (json_pieces.MAX_VALUES // 2) + 2 * (json_pieces.MAX_VALUES + 1)
    assert max(sizes) <= json_pieces.MAX_VALUES
