"""What all the peers share: the same graph, and JPEG to pixels by the same rules as the tokenizer."""

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import orjson
import simplejpeg
from PIL import Image

MAX_BATCH = 64
NUM_CPUS = len(os.sched_getaffinity(0))


class Encoder:
    """The ONNX encoder: uint8 [B, H, W, 3] to tokens int32 [B, h, w]. Safe to call from several threads."""

    def __init__(self, *, num_threads: int) -> None:
        """Load the graph that the variable ENCODER names, to run each batch with `num_threads`."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            Path(os.environ["ENCODER"]), options, providers=["CPUExecutionProvider"]
        )
        _, self._height, self._width, _ = self._session.get_inputs()[0].shape

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Tokens [B, h, w] of images [B, H, W, 3], in runs of at most MAX_BATCH."""
        parts = [images[first : first + MAX_BATCH] for first in range(0, len(images), MAX_BATCH)]
        return np.concatenate([self._session.run(None, {"pixels": part})[0] for part in parts])

    def decode(self, jpeg: bytes) -> npt.NDArray[np.uint8]:
        """The pixels of `jpeg` [H, W, 3]: scaled until they just cover the model's size, then the center."""
        image = simplejpeg.decode_jpeg(jpeg, "RGB")
        height, width, _ = image.shape
        if (height, width) == (self._height, self._width):
            return image
        scale = max(self._height / height, self._width / width)
        box_height, box_width = min(height, self._height / scale), min(width, self._width / scale)
        left, top = (width - box_width) / 2, (height - box_height) / 2
        box = (left, top, left + box_width, top + box_height)
        scaled = Image.fromarray(image).resize((self._width, self._height), Image.Resampling.BICUBIC, box=box)
        return np.asarray(scaled)


def to_json(tokens: npt.NDArray[np.int32]) -> bytes:
    """The reply of tokens [B, h, w] as JSON."""
    return orjson.dumps({"tokens": tokens}, option=orjson.OPT_SERIALIZE_NUMPY)


def to_npy(tokens: npt.NDArray[np.int32]) -> bytes:
    """The reply of tokens [B, h, w] as .npy."""
    file = io.BytesIO()
    np.save(file, tokens)
    return file.getvalue()


def from_npy(body: bytes) -> npt.NDArray[np.uint8]:
    """The images [B, H, W, 3] of a request."""
    return np.load(io.BytesIO(body))
