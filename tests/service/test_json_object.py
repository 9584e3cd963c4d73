"""JSON objects of strangers: what orjson lets pass in silence is refused all the same."""

import orjson
import pytest

from kohonen_tokenizer.service.errors import MalformedBodyError
from kohonen_tokenizer.service.json_object import read_json_object


def read(content: bytes):
    return read_json_object(content, example="{}")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"a": 1, "b": [1, 2]}',
        b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}, 3, [{"a": 3}]]}',
        # Colons that are text: the slow check must find that no key is repeated.
        b'{"a": "::::", "b:c": 1, "": ":"}',
        b'{"a": "\\":\\"", "c": [1, {"a": 1}]}',
    ],
)
def test_objects_without_repeats_come_as_orjson_has_them(content):
    assert read(content) == orjson.loads(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a" \n: 1, "a"\t: 2}',
        b'{"x": {"a": 1, "a": 1}}',
        b'{"x": [{"a": 1}, {"a": 1, "a": 1}]}',
        b'{"x": [1, {"a": 1, "a": 1}]}',
        b'{"x": [[{"a": 1, "a": 1}]]}',
        # The value that is lost holds the keys that would have been counted.
        b'{"a": {"b": 1, "c": 2}, "a": 1}',
    ],
)
def test_a_repeated_key_is_refused_wherever_it_is(content):
    with pytest.raises(MalformedBodyError, match="twice"):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        # As deep as orjson goes, and its colons make the slower reader look at it.
        b'{"a":' * 1000 + b'":"' + b"}" * 1000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1%s}' % (b"0" * 5000),
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a": 1}{}',
        b"[1]",
        b"null",
    ],
)
def test_what_is_no_json_object_is_refused_in_one_line(content):
    with pytest.raises(MalformedBodyError) as refusal:
        read(content)
    assert 10 < len(refusal.value.message) < 200
