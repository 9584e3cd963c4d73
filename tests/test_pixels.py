"""Training and the service read one picture as the same pixels."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer.service.runtime.images import decode_image, fit
from kohonen_tokenizer.training.image_cache import decode_file
from kohonen_tokenizer.training.sources import list_folder


def pictures():
    photo = Image.fromarray(load_sample_images().images[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    gray16 = Image.fromarray((np.arange(40 * 30, dtype=np.uint16) * 50).reshape(30, 40))
    transparent = photo.crop((0, 0, 90, 70)).convert("RGBA")
    transparent.putalpha(100)
    return {
        "plain.jpg": (photo, {}),
        "turned.jpg": (photo, {"exif": exif}),
        "exact.png": (photo.crop((0, 0, 32, 32)), {}),
        "tall.webp": (photo.crop((0, 0, 50, 200)), {}),
        "gray16.png": (gray16, {}),
        "transparent.png": (transparent, {}),
        "palette.png": (photo.crop((9, 9, 99, 99)).quantize(16), {}),
        "cmyk.jpg": (photo.convert("CMYK"), {}),
    }


@pytest.mark.parametrize("name", pictures())
def test_training_and_service_see_the_same(name, tmp_path):
    image, options = pictures()[name]
    image.save(tmp_path / name, **options)
    (file,) = list_folder(tmp_path)
    in_training = decode_file(file, image_size=32, resize="crop")
    decoded = decode_image((tmp_path / name).read_bytes(), max_pixels=10**7)
    np.testing.assert_array_equal(in_training, fit(decoded, height=32, width=32))
