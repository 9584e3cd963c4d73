"""What is sent: requests made from scikit-learn's photographs, and the tokens that must come back.

B images, H W pixels, h w latent grid.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer import Tokenizer
from kohonen_tokenizer.pixels import Pixels
from kohonen_tokenizer.service.npy import write_npy
from kohonen_tokenizer.service.runtime.images import decode_image, fit

SEED = 0
JPEG_QUALITY = 90
IMAGES_PER_BATCH = 64

Name = Literal["A", "A-npy", "B", "C"]
Tokens = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Requests of one kind, which are sent in turn for as long as a measurement lasts."""

    name: Name
    title: str
    concurrency: int
    """Connections of the closed loop, each with one request at a time."""
    images_per_request: int
    image_size: int
    """Pixels along each side of what the model takes."""
    content_type: str
    accept: str
    bodies: tuple[bytes, ...]
    tokens: tuple[Tokens, ...]
    """What each body must be answered with: [B, h, w]."""

    @property
    def headers(self) -> dict[str, str]:
        """Of each request."""
        return {"Content-Type": self.content_type, "Accept": self.accept}


def make_workloads(tokenizer: Tokenizer) -> dict[Name, Workload]:
    """The workloads by name; their expected tokens are those of `tokenizer` in this process."""
    size = tokenizer.manifest.image.height
    crops = _random_crops()
    small = tuple(_jpeg(next(crops).resize((size, size), Image.Resampling.LANCZOS)) for _ in range(256))
    large = tuple(_jpeg(next(crops).resize((256, 256), Image.Resampling.LANCZOS)) for _ in range(64))
    batches = [
        np.stack([np.asarray(next(crops).resize((size, size))) for _ in range(IMAGES_PER_BATCH)])
        for _ in range(16)
    ]

    def one_jpeg(
        name: Name, title: str, *, bodies: tuple[bytes, ...], accept: str, concurrency: int
    ) -> Workload:
        return Workload(
            name=name,
            title=title,
            concurrency=concurrency,
            images_per_request=1,
            image_size=size,
            content_type="image/jpeg",
            accept=accept,
            bodies=bodies,
            tokens=tuple(tokenizer.encode(_read(body, size=size)[np.newaxis]) for body in bodies),
        )

    workloads = (
        one_jpeg("A", "one 32x32 JPEG -> JSON", bodies=small, accept="application/json", concurrency=64),
        one_jpeg("A-npy", "one 32x32 JPEG -> npy", bodies=small, accept="application/x-npy", concurrency=64),
        Workload(
            name="B",
            title=f"{IMAGES_PER_BATCH} raw images -> npy",
            concurrency=4,
            images_per_request=IMAGES_PER_BATCH,
            image_size=size,
            content_type="application/x-npy",
            accept="application/x-npy",
            bodies=tuple(write_npy(batch) for batch in batches),
            tokens=tuple(tokenizer.encode(batch) for batch in batches),
        ),
        one_jpeg("C", "one 256x256 JPEG -> JSON", bodies=large, accept="application/json", concurrency=16),
    )
    return {workload.name: workload for workload in workloads}


def _read(jpeg: bytes, *, size: int) -> Pixels:
    """The image that the model gets of `jpeg`: uint8 [size, size, 3]."""
    return fit(decode_image(jpeg, max_pixels=2**24), height=size, width=size)


def _random_crops() -> Iterator[Image.Image]:
    """Squares of any size and place in two photographs."""
    random = np.random.default_rng(SEED)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    while True:
        photograph = photographs[random.integers(len(photographs))]
        side = int(random.integers(48, min(photograph.size)))
        left = int(random.integers(photograph.width - side))
        top = int(random.integers(photograph.height - side))
        yield photograph.crop((left, top, left + side, top + side))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
