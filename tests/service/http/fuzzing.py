"""What schemathesis is told of this service: bodies that it cannot make up, and checks of our own.

It loads this file by its path; nothing imports it.
"""

import io
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save
from schemathesis import Case, CheckContext, GenerationMode, Response

# Of the tiny model: images of 8 x 8 pixels, 2 x 2 tokens, 12 codes.
_IMAGE_SHAPES = st.sampled_from(
    [(1, 8, 8, 3), (2, 16, 11, 3), (3, 1, 1, 3), (9, 8, 8, 3), (0, 8, 8, 3), (8, 8)]
)
_TOKEN_SHAPES = st.sampled_from([(2, 2), (1, 2, 2), (3, 2, 2), (9, 2, 2), (0, 2, 2), (4,), ()])
_ARRAYS = st.one_of(
    st.builds(np.zeros, _IMAGE_SHAPES, st.sampled_from(["u1", "u1", "f4"])),
    st.builds(np.full, _TOKEN_SHAPES, st.sampled_from([0, 11, 12]), st.sampled_from(["<i4", "<u2", ">i8"])),
)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _image(image_format: str, mode: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, format=image_format)
    return file.getvalue()


@st.composite
def _often_whole(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """A file as it should be, or cut off, or with one byte changed."""
    content = draw(files)
    damage = draw(st.sampled_from(["none", "none", "cut", "change"]))
    place = draw(st.integers(min_value=0, max_value=len(content) - 1))
    match damage:
        case "cut":
            return content[:place]
        case "change":
            return content[:place] + draw(st.binary(min_size=1, max_size=1)) + content[place + 1 :]
        case _:
            return content


def _images(image_format: str, *modes: str) -> st.SearchStrategy[bytes]:
    sizes = st.sampled_from([(8, 8), (1, 1), (40, 30), (65, 64)])
    return st.builds(_image, st.just(image_format), st.sampled_from(modes), sizes)


def _safetensors() -> st.SearchStrategy[bytes]:
    names = st.sampled_from(["tokens", "images"])
    return st.builds(lambda name, array: save({name: array}), names, _ARRAYS.map(np.ascontiguousarray))


for _media_type, _files in {
    "image/jpeg": _images("JPEG", "RGB", "L", "CMYK"),
    "image/png": _images("PNG", "RGB", "RGBA", "P", "I;16"),
    "image/webp": _images("WEBP", "RGB", "RGBA"),
    "application/x-npy": st.builds(_npy, _ARRAYS),
    "application/x-safetensors": _safetensors(),
}.items():
    schemathesis.openapi.media_type(_media_type, _often_whole(_files))


_CALLS_OF_GRIDS = {"/decode", "/soft-targets", "/perturb", "/interpolate"}
_ACCEPTS = (
    *("*/*",) * 5,
    "application/json",
    "application/x-npy",
    "application/x-safetensors",
    "image/png",
    "text/csv",
)
_OCTETS = "application/octet-stream"
_HEADER_LENGTH = "Inference-Header-Content-Length"
_PIXELS = (
    b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 3], '
    b'"parameters": {"binary_data_size": 192}}]}'
)

schemathesis.openapi.media_type(_OCTETS, _often_whole(st.just(_PIXELS + bytes(192))))


def _is_positive(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: Case) -> Case:
    """Ask for any kind of reply, and make most of what fits its schema fit the model, too."""
    # Chosen by what the case holds, so that a run can be repeated.
    number = crc32(repr((case.query, case.media_type and case.body)).encode())
    # OpenAPI leaves Accept to the types of the replies.
    case.headers["Accept"] = _ACCEPTS[number % len(_ACCEPTS)]
    if _is_positive(case) and number % 4:
        _fit(case, number=number)
    return case


def _fit(case: Case, *, number: int) -> None:
    if "model" in case.query:
        case.query["model"] = "tiny-colors"
    if "level" in case.query:
        case.query["level"] = "tokens"
    # The least that fits its schema is 5e-324.
    case.headers.pop("X-Timeout-S", None)
    # A hash that is made up gets a 409, and nothing else would be tried.
    case.headers.pop("X-Expect-Codebook-Hash", None)
    if case.media_type == _OCTETS:
        case.path_parameters["name"] = "tiny-colors-encoder"
        case.headers[_HEADER_LENGTH] = str(len(_PIXELS))
    if case.path in _CALLS_OF_GRIDS and isinstance(case.body, dict):
        for name in case.body.keys() & {"tokens", "from", "to"}:
            # Grids of several levels, in an object, stay: the model has one, and refuses them.
            if isinstance(case.body[name], list):
                case.body[name] = _grid(case.body[name])
        if "level" in case.body:
            case.body["level"] = "tokens"
        for name in case.body.keys() & {"model", "codebook_hash"}:
            del case.body[name]
        # A parameter may be in the body or in the URL, but not in both.
        case.query = {name: value for name, value in case.query.items() if name not in case.body}
    if case.path == "/encode" and isinstance(case.body, dict):
        # One, or more than the limit.
        num_images = 9 if number % 3 == 0 else 1
        case.body = {"images": num_images * [b64encode(_image("PNG", "RGB", (8, 8))).decode()]}


def _grid(tokens: list[Any]) -> list[list[int]]:
    """The first of `tokens` as a grid of 2 x 2, of which some are just out of range."""
    first, second, third, fourth, *_ = (number % 13 for number in 4 * list(_numbers(tokens)))
    return [[first, second], [third, fourth]]


def _numbers(tokens: Any) -> Iterator[int]:
    if isinstance(tokens, list):
        for item in tokens:
            yield from _numbers(item)
    else:
        yield int(tokens)


@schemathesis.check
def only_a_deadline_of_the_client_passes(_: CheckContext, response: Response, case: Case) -> None:
    """504 is no bug where the client gave less time than the work takes; not_a_server_error lets it pass."""
    if response.status_code == 504:
        assert "X-Timeout-S" in case.headers or "timeout" in str(case.body)


@schemathesis.check
def what_fits_its_schema_is_not_malformed(_: CheckContext, response: Response, case: Case) -> None:
    """JSON that fits its schema may not fit the model or itself (422), but it can be read.

    Schemas do not tell what is in a file in base64, nor how the protocol divides a body in two.
    """
    is_told = case.path != "/encode" and not case.path.startswith("/v2")
    if _is_positive(case) and is_told and case.media_type == "application/json":
        assert response.status_code != 400, response.text


@schemathesis.check
class EveryCallSucceeds:
    """Fails if one call was only ever refused: then nothing behind the checks of its input was tested."""

    def __init__(self) -> None:
        self._tried: set[str] = set()
        self._successful: set[str] = set()

    def after_response(self, _: CheckContext, response: Response, case: Case) -> None:
        self._tried.add(case.operation.label)
        if response.status_code < 400:
            self._successful.add(case.operation.label)

    def after_run(self, _: CheckContext) -> None:
        assert self._tried == self._successful, sorted(self._tried - self._successful)
