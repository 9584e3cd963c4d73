"""safetensors of strangers: what the library writes is read, and all else is refused before it costs much."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from kohonen_tokenizer.service.errors import MalformedBodyError
from kohonen_tokenizer.service.safetensors_bytes import read_safetensors, write_safetensors


def file(header: bytes | dict[str, object], data: bytes = b"", *, header_bytes: int | None = None) -> bytes:
    """A safetensors file, or what looks like one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if header_bytes is None else header_bytes).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (), (0, 5)])
def test_integers_of_any_type_are_read(dtype, shape):
    tensor = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    named = read_safetensors(save({"x": tensor}, metadata={"model": "m"}), name="x")
    assert named.tensor.dtype == tensor.dtype
    assert np.array_equal(named.tensor, tensor)
    assert named.metadata == {"model": "m"}


def test_what_is_written_the_library_reads():
    tensor = np.arange(24, dtype=">u2").reshape(2, 3, 4).T
    content = write_safetensors({"x": tensor}, metadata={"model": "m"})
    assert np.array_equal(load(content)["x"], tensor)
    assert read_safetensors(content, name="x").metadata == {"model": "m"}
    assert b'"dtype":"U16"' in content
    assert content.endswith(np.ascontiguousarray(tensor).astype("<u2").tobytes())


ONE = entry("U8", [4], 0, 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "header"),
        (b"\x02", "header"),
        (file(b"{}", header_bytes=2**64 - 1), "header"),
        (file(b"{}", header_bytes=3), "header"),
        (file({f"t{index}": entry("U8", [0], 0, 0) for index in range(10**5)}), "limit is 16384"),
        (file(b"[" * 10_000), "no JSON"),
        (file(b"\xff" * 9), "no JSON"),
        (file(b"[]"), "the JSON is a list"),
        (file(b"{}"), "the tensors none"),
        (file(b'{"x":%b,"x":%b}' % ((json.dumps(ONE).encode(),) * 2), b"1234"), "twice"),
        (file({"x": ONE}, b"123"), "no safetensors"),
        (file({"x": ONE}, b"12345"), "no safetensors"),
        (file({"x": entry("U8", [4], 1, 5)}, b"12345"), "no safetensors"),
        (file({"x": entry("U8", [4], 4, 0)}, b"1234"), "no safetensors"),
        (file({"x": entry("U8", [4], 0, 2**70)}, b"1234"), "no safetensors"),
        (file({"x": entry("U8", [5], 0, 4)}, b"1234"), "no safetensors"),
        (file({"x": entry("U8", [-4], 0, 4)}, b"1234"), "no safetensors"),
        (file({"x": entry("U8", [2**40, 2**40], 0, 0)}), "no safetensors"),
        (file({"x": entry("X8", [4], 0, 4)}, b"1234"), "no safetensors"),
        (file({"x": entry("U8", [0, 2**63], 0, 0)}), "of no array"),
        (file({"x": entry("U8", [1] * 9, 0, 1)}, b"1"), "at most 8 dimensions"),
        (file({"x": entry("F32", [1], 0, 4)}, b"1234"), "is of F32"),
        (file({"x": entry("BOOL", [4], 0, 4)}, b"1234"), "is of BOOL"),
        (file({"x": ONE, "y": ONE}, b"1234"), "no safetensors"),
        (file({"x": ONE, "y": entry("U8", [1], 4, 5)}, b"12345"), "'y'"),
        (file({"y": ONE}, b"1234"), "give one, 'x'"),
        (file({"__metadata__": {"model": 1}, "x": ONE}, b"1234"), "no safetensors"),
        (file({"__metadata__": [], "x": ONE}, b"1234"), "no safetensors"),
    ],
)
def test_all_else_is_refused_in_one_line(content, says):
    with pytest.raises(MalformedBodyError, match=says) as refusal:
        read_safetensors(content, name="x")
    assert 10 < len(refusal.value.message) < 400
