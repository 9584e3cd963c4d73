"""From a checkpoint to the manifest of its bundle: every value is read, none is typed again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

import kohonen_tokenizer
from kohonen_tokenizer.service.runtime.manifest import (
    CheckpointRecord,
    FileRecord,
    GraphFiles,
    Graphs,
    ImageSpec,
    Level,
    Manifest,
    TrainingData,
    codebook_sha256,
    sha256_hex,
)
from kohonen_tokenizer.service.runtime.silent_onnxruntime import onnxruntime
from kohonen_tokenizer.training.autoencoder import QuantizedAutoencoder
from kohonen_tokenizer.training.checkpoint import Checkpoint

from .errors import BundleRefusedError, ExportError, MetricsError
from .parity import Parity


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a bundle says of its model that is not in the checkpoint's config."""

    metrics: Mapping[str, Any]
    """From ``read_metrics`` or ``validation_metrics``."""

    license: str = "MIT"
    """License of the model."""

    description: str | None = None
    """One line; None says what the config knows."""


def build_manifest(
    checkpoint: Checkpoint,
    *,
    files: Mapping[str, bytes],
    graphs: Mapping[str, GraphFiles],
    model: QuantizedAutoencoder,
    parity: Parity,
    card: ModelCard,
) -> Manifest:
    """The manifest of ``files`` made from ``checkpoint``.

    ``graphs`` has the file names of each format; ``model`` is the checkpoint's.
    Raises BundleRefusedError where a value does not fit.
    """
    config = checkpoint.config
    size = config.data.image_size
    run = config.to_dict()
    architecture = run.pop("model")
    sizes = " and ".join(f"a codebook of {level.grid.size}" for level in model.quantizers.values())
    known = f"{size}x{size} images as tokens of {sizes}, trained on {config.data.name}"
    try:
        return Manifest(
            schema_version=1,
            name=config.name,
            description=known if card.description is None else card.description,
            license=card.license,
            created=_created(),
            versions={
                "kohonen-tokenizer": kohonen_tokenizer.__version__,
                "torch": str(torch.__version__),
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
                "python": platform.python_version(),
            },
            image=ImageSpec(height=size, width=size),
            levels=tuple(
                _level(name, model=model, map_topology=config.model.quantizer.map_topology, image_size=size)
                for name in model.quantizers
            ),
            files={
                name: FileRecord(sha256=sha256_hex(content), bytes=len(content))
                for name, content in sorted(files.items())
            },
            graphs=Graphs.model_validate(graphs),
            checkpoint=CheckpointRecord(sha256=checkpoint.weights_sha256, step=checkpoint.step),
            architecture=architecture,
            training=run,
            training_data=TrainingData(
                name=config.data.name, num_images=checkpoint.num_train_images, license=config.data.license
            ),
            metrics=dict(card.metrics),
            parity=to_jsonable_python(parity),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleRefusedError(
            f"manifest.json cannot hold {where} {first['input']!r}: {first['msg']}; "
            "correct the run's config or the metrics"
        ) from None


def validation_metrics(checkpoint: Checkpoint) -> dict[str, Any]:
    """The checkpoint's last validation, if it had one: all that is known without ``evaluate``."""
    return {"validation": asdict(checkpoint.validations[-1])} if checkpoint.validations else {}


def read_metrics(path: Path, *, checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``evaluate --json`` wrote. Raises MetricsError unless it was measured on ``checkpoint``."""
    try:
        metrics = json.loads(path.read_text())
    except OSError as error:
        raise MetricsError(f"{path}: cannot be read ({error.strerror}); name what evaluate wrote") from None
    except ValueError as error:
        raise MetricsError(f"{path}: not JSON ({error}); name what evaluate wrote") from None
    measured = metrics.get("checkpoint_sha256") if isinstance(metrics, dict) else None
    if measured != checkpoint.weights_sha256:
        raise MetricsError(
            f"{path}: checkpoint_sha256 is {measured}, and the checkpoint's is {checkpoint.weights_sha256}; "
            f"run evaluate on {checkpoint.path}"
        )
    return dict(metrics)


def codebook_name(level: str, *, num_levels: int) -> str:
    """Name of the file with the codebook of a level."""
    return "codebook.safetensors" if num_levels == 1 else f"codebook_{level}.safetensors"


def _level(name: str, *, model: QuantizedAutoencoder, map_topology: str, image_size: int) -> Level:
    quantizer = model.quantizers[name]
    codebook: npt.NDArray[np.float32] = quantizer.codebook.detach().numpy()
    codebook_size, code_dim = codebook.shape
    return Level.model_validate(
        {
            "name": name,
            "latent_grid": model.latent_grid(name, image_size=image_size),
            "map_shape": quantizer.grid.shape,
            "map_topology": map_topology,
            "codebook_size": codebook_size,
            "code_dim": code_dim,
            "codebook_file": codebook_name(name, num_levels=len(model.quantizers)),
            "codebook_sha256": codebook_sha256(codebook),
        }
    )


def _created() -> datetime:
    """Now, or SOURCE_DATE_EPOCH (reproducible-builds.org): equal inputs then give an equal bundle."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise ExportError(
            f"SOURCE_DATE_EPOCH {epoch!r}: must be a whole number of seconds since 1970; correct or unset it"
        ) from None
