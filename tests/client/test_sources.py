"""What can be encoded, how it travels, and what is said of an item that is no image."""

import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

from kohonen_tokenizer.service.runtime.images import decode_image, fit
from kohonen_tokenizer_client import InputError

from .faulty_proxy import faulty_proxy


@pytest.fixture
def files(image_file, crop_photos):
    """Sixteen photographs as files, of two formats and sizes, none of the model's."""
    return [
        image_file(photo, ("PNG", "JPEG")[number % 2])
        for number, photo in enumerate([*crop_photos(8, size=20), *crop_photos(8, size=9)])
    ]


@pytest.fixture
def expected(tokenizer, files):
    """Their tokens."""
    images = [fit(decode_image(file, max_pixels=10**6), height=8, width=8) for file in files]
    return tokenizer.encode(np.stack(images))


def test_every_kind_of_image_may_come_in_one_iterable(make_client, server, files, expected, tmp_path):
    def sources():
        for number, file in enumerate(files):
            path = tmp_path / str(number)
            path.write_bytes(file)
            pillow = Image.open(io.BytesIO(file))
            yield [path, file, str(path), pillow, np.array(pillow)][number % 5]

    client = make_client(server.url, batch_size=3)
    np.testing.assert_array_equal(client.encode(sources()), expected)
    np.testing.assert_array_equal(np.stack(list(client.encode_stream(sources()))), expected)
    np.testing.assert_array_equal(client.encode([]), expected[:0])


def test_one_image_is_a_batch_of_one(make_client, server, files, expected, tmp_path):
    (tmp_path / "image").write_bytes(files[0])
    client = make_client(server.url)
    for source in (files[0], tmp_path / "image", str(tmp_path / "image"), Image.open(tmp_path / "image")):
        np.testing.assert_array_equal(client.encode(source), expected[:1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB", "CMYK", "I;16"])
def test_a_pillow_image_counts_as_its_file_would(client, tokenizer, crop_photos, mode):
    photo = Image.fromarray(crop_photos(1, size=8)[0])
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 256)
    else:
        image = photo.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize((8, 8)))
    file = io.BytesIO()
    image.save(file, format="TIFF" if mode == "CMYK" else "PNG")
    if mode == "CMYK":
        pixels = np.asarray(image.convert("RGB"))
    else:
        pixels = decode_image(file.getvalue(), max_pixels=64)
    np.testing.assert_array_equal(client.encode(image), tokenizer.encode(pixels[np.newaxis]))


def test_without_pillow_all_else_is_encoded(client, files, expected, monkeypatch):
    monkeypatch.delitem(sys.modules, "PIL.Image")
    np.testing.assert_array_equal(client.encode(files), expected)


def test_consecutive_images_of_one_kind_share_a_request(make_client, server, files, random_images):
    with faulty_proxy(server.url) as proxy:
        client = make_client(proxy.url, batch_size=8, concurrency=1)
        client.encode(random_images)
        assert proxy.paths() == ["/models", *["/encode"] * 9]
        assert set(proxy.headers("content-type")) == {"application/x-npy"}
        client.encode([*files[:5], random_images[0], *random_images[:4, :5], *files[:9]])
    assert proxy.paths()[10:] == ["/encode"] * 5


def test_a_strict_client_refuses_another_size(client, files):
    with pytest.raises(InputError) as caught:
        client.encode(files, resize="strict")
    assert (caught.value.code, caught.value.index) == ("image_size_mismatch", 0)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"no image", "unsupported_image_format"),
        (b"\xff\xd8\xff\xe0 torn", "undecodable_image"),
        (np.zeros((8, 8), np.uint8), "invalid_pixels"),
        (np.zeros((8, 8, 3), np.float32), "invalid_pixels"),
        (17, "invalid_image"),
        ("/no/such/file", "unreadable_file"),
        (None, "invalid_image"),
    ],
)
@pytest.mark.parametrize("index", [0, 5, 15])
def test_the_error_names_the_item(make_client, server, files, bad, code, index):
    files[index] = bad
    client = make_client(server.url, batch_size=4)
    with pytest.raises(InputError) as caught:
        client.encode(iter(files))
    error = caught.value
    assert (error.code, error.index) == (code, index)
    assert str(error).startswith(f"item {index}: ")
    assert "\n" not in str(error)
    # The service's count, within the request, would only confuse.
    assert not re.match(r"image \d", error.message)
    assert (error.request_id is not None) == (error.status is not None)


def test_a_file_that_vanishes_between_is_named(make_client, server, files, tmp_path):
    paths = [tmp_path / str(number) for number in range(4)]

    def sources():
        for path, file in zip(paths, files, strict=False):
            path.write_bytes(file)
            yield path
        paths[2].unlink()

    with pytest.raises(InputError) as caught:
        make_client(server.url, batch_size=8).encode(sources())
    assert (caught.value.code, caught.value.index) == ("unreadable_file", 2)


def test_a_token_out_of_range_is_named(make_client, server):
    tokens = np.zeros((20, 2, 2), np.int64)
    tokens[13, 1, 0] = 2**40
    with pytest.raises(InputError) as caught:
        make_client(server.url, batch_size=4).decode(tokens)
    assert (caught.value.code, caught.value.index) == ("token_out_of_range", 13)
