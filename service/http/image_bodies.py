"""Images in a request's body, as pixels for the encoder.

B images, H W pixels.
"""

import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kohonen_tokenizer.pixels import Pixels

from ..errors import ImageCountError, ImagePixelsError, InputError, MalformedBodyError, PixelsError
from ..json_object import keys_of, kind_of, read_json_object
from ..npy import read_npy
from ..runtime.images import Resize, decode_image, fit
from ..safetensors_bytes import read_safetensors
from . import media
from .bodies import Body, check_count
from .multipart import read_files
from .settings import Settings

MEDIA_TYPES = (*media.IMAGES, media.MULTIPART, media.JSON, media.NPY, media.SAFETENSORS)

_JSON_EXAMPLE = '{"image": "<base64>"} or {"images": ["<base64>", ...]}'


def parse_images(body: Body, *, height: int, width: int, resize: Resize, settings: Settings) -> Pixels:
    """The images in `body` at the model's size: uint8 [B, height, width, 3], B of 1 to `max_images`.

    Raises:
        InputError: the subclass that says what is wrong, and with which image.
    """
    if body.media_type == media.NPY:
        return fit_images(
            read_npy(body.content), height=height, width=width, resize=resize, settings=settings
        )
    if body.media_type == media.SAFETENSORS:
        images = read_safetensors(body.content, name="images").tensor
        return fit_images(images, height=height, width=width, resize=resize, settings=settings)

    if body.media_type == media.MULTIPART:
        files = read_files(body.content, content_type=body.content_type, max_files=settings.max_images)
    elif body.media_type == media.JSON:
        files = _files_from_json(body.content, max_images=settings.max_images)
    else:
        files = [body.content]
    return fit_files(files, height=height, width=width, resize=resize, settings=settings)


def fit_files(
    files: Sequence[bytes], *, height: int, width: int, resize: Resize, settings: Settings
) -> Pixels:
    """JPEG, PNG and WebP `files` as images of the model's size: uint8 [B, height, width, 3].

    Raises:
        InputError: the subclass that says what is wrong, and with which image.
    """
    pixels = np.empty((len(files), height, width, 3), dtype=np.uint8)
    num_pixels_left = settings.max_request_pixels
    for index, file in enumerate(files):
        try:
            image = decode_image(file, max_pixels=min(settings.max_image_pixels, num_pixels_left))
            pixels[index] = fit(image, height=height, width=width, resize=resize)
        except InputError as error:
            if isinstance(error, ImagePixelsError) and num_pixels_left < settings.max_image_pixels:
                raise ImagePixelsError(
                    f"image {index} and those before it have more than {settings.max_request_pixels} pixels, "
                    "the limit of a request; send fewer or smaller images",
                    index=index,
                ) from None
            if len(files) == 1:
                raise
            raise type(error)(f"image {index}: {error.message}", index=index) from None
        num_pixels_left -= image.shape[0] * image.shape[1]
    return pixels


def fit_images(
    images: npt.NDArray[Any], *, height: int, width: int, resize: Resize, settings: Settings
) -> Pixels:
    """An array that should be uint8 [B, H, W, 3] as images of the model's size: uint8 [B, height, width, 3].

    Raises:
        InputError: the subclass that says what is wrong.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise PixelsError(
            f"the images are {images.dtype} {str(list(images.shape))[:60]}; send uint8 [B, H, W, 3]"
        )
    check_count(len(images), what="images", max_images=settings.max_images)
    num_pixels = images.shape[1] * images.shape[2]
    if num_pixels > settings.max_image_pixels:
        raise ImagePixelsError(
            f"an image has {num_pixels} pixels, the limit is {settings.max_image_pixels}; send smaller images"
        )
    if num_pixels * len(images) > settings.max_request_pixels:
        raise ImagePixelsError(
            f"the images have {num_pixels * len(images)} pixels, the limit of a request is "
            f"{settings.max_request_pixels}; send fewer or smaller images"
        )
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([fit(image, height=height, width=width, resize=resize) for image in images])


def _files_from_json(content: bytes, *, max_images: int) -> list[bytes]:
    # Before parsing, for empty lists cost thirty times their bytes. Base64 has no commas; the header of a
    # data: URL has one.
    if content.count(b",") > 2 * max_images:
        raise ImageCountError(f"the JSON holds more than {max_images} images, the limit; send fewer")
    fields = read_json_object(content, example=_JSON_EXAMPLE)
    match fields:
        case {"image": image, **others} if not others:
            images = [image]
        case {"images": list(images), **others} if not others:
            check_count(len(images), what="images", max_images=max_images)
        case {"images": value, **others} if not others:
            raise MalformedBodyError(f"images is {kind_of(value)}; send {_JSON_EXAMPLE}")
        case _:
            raise MalformedBodyError(
                f"the JSON object has {keys_of(fields)}; send {_JSON_EXAMPLE}, nothing else"
            )
    return [_from_base64(image, index=index) for index, image in enumerate(images)]


def _from_base64(text: Any, *, index: int) -> bytes:
    if not isinstance(text, str):
        raise MalformedBodyError(
            f"image {index} is {kind_of(text)}; send base64 in a string, or a data: URL", index=index
        )
    if text.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.endswith(";base64"):
            raise MalformedBodyError(
                f"image {index} is the data: URL {header[:50]!r}; send data:image/jpeg;base64,<base64>",
                index=index,
            )
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise MalformedBodyError(
            f"image {index} is no base64 ({error}); use the standard alphabet, padding, and no line breaks",
            index=index,
        ) from None
