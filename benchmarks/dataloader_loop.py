"""The loop that one writes by hand: a PyTorch DataLoader of image files, the model, an array of tokens.

python -m benchmarks.dataloader_loop FOLDER ENCODER.onnx TOKENS.npy
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from kohonen_tokenizer.pixels import Pixels, crop
from kohonen_tokenizer.service.runtime.threads import available_threads

BATCH_SIZE = 64
SIZE = 32


class ImageFiles(Dataset[Pixels]):
    """The images below a folder, each as the model takes it."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:
        image = np.asarray(Image.open(self._paths[index]).convert("RGB"))
        return image if image.shape == (SIZE, SIZE, 3) else crop(image, height=SIZE, width=SIZE)


def stack(images: list[Pixels]) -> Pixels:
    """A batch [B, H, W, 3]."""
    return np.stack(images)


def main() -> None:
    """Encode the images of a folder."""
    folder, encoder, output = map(Path, sys.argv[1:])
    session = ort.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    loader = DataLoader(
        ImageFiles(folder), batch_size=BATCH_SIZE, num_workers=available_threads(), collate_fn=stack
    )
    tokens: list[npt.NDArray[np.int32]] = [session.run(None, {"pixels": batch})[0] for batch in loader]
    np.save(output, np.concatenate(tokens).astype(np.uint16))


if __name__ == "__main__":
    main()
