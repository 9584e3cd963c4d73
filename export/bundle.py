"""From a checkpoint to a bundle on disk: graphs, gate, manifest, files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from kohonen_tokenizer.service.runtime.manifest import GraphFiles, Manifest
from kohonen_tokenizer.training.autoencoder import QuantizedAutoencoder
from kohonen_tokenizer.training.checkpoint import Checkpoint
from kohonen_tokenizer.training.quantizer import VectorQuantizer

from .bundle_files import archive_path, check_target, write_bundle
from .errors import BundleRefusedError, ExportError
from .formats import FORMATS, CapturedGraph, WrittenGraphs
from .graphs import DecoderGraph, EncoderGraph
from .manifest import ModelCard, build_manifest, codebook_name
from .parity import Parity, check_num_images, check_parity


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedBundle:
    """A bundle on disk."""

    folder: Path
    archive: Path
    """The .zip of the folder's files."""
    manifest: Manifest
    parity: Parity


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    *,
    images: Tensor,
    card: ModelCard,
    overwrite: bool = False,
) -> ExportedBundle:
    """Write the bundle of ``checkpoint`` to the folder ``out``, and OUT.zip beside it; all of it or nothing.

    ``images`` uint8 [N, H, W, 3] is what the graphs are compared with the checkpoint on, see
    ``check_parity``. Raises ExportError: TargetError when ``out`` is taken, ParityError when a graph differs,
    BundleRefusedError when the service would not load the bundle. On any error what was there before is
    there still; for a kill see ``write_bundle``.
    """
    out = out.resolve()
    check_target(out, overwrite=overwrite)
    check_num_images(images)
    check_weights(checkpoint)
    check_method(checkpoint)
    model = checkpoint.model()
    written = write_graphs(model, image_size=checkpoint.config.data.image_size)
    parity = check_parity(model, written=written, images=images)
    files = {
        codebook_name(level, num_levels=len(model.quantizers)): codebook_file(quantizer)
        for level, quantizer in model.quantizers.items()
    }
    graphs = {}
    for pair in written:
        name, suffix = pair.format.name, pair.format.suffix
        graphs[name] = GraphFiles(encoder=f"encoder.{suffix}", decoder=f"decoder.{suffix}")
        files |= {graphs[name].encoder: pair.encoder, graphs[name].decoder: pair.decoder}
    manifest = build_manifest(
        checkpoint,
        files=files,
        graphs=graphs,
        model=model,
        parity=parity,
        card=card,
    )
    write_bundle(files, out, manifest=manifest)
    return ExportedBundle(folder=out, archive=archive_path(out), manifest=manifest, parity=parity)


def check_weights(checkpoint: Checkpoint) -> None:
    """Raise ExportError if a weight is NaN or infinite.

    Parity cannot tell: as pixels, NaN becomes the same 0 in the checkpoint and in the graphs.
    """
    for name, weights in checkpoint.weights.items():
        if not weights.isfinite().all():
            raise ExportError(
                f"{checkpoint.path}: {name} has values that are NaN or infinite; export an earlier checkpoint"
            )


def check_method(checkpoint: Checkpoint) -> None:
    """Raise BundleRefusedError if a latent of the model is more than one code."""
    quantizer = checkpoint.config.model.quantizer
    if quantizer.method == "residual":
        raise BundleRefusedError(
            f"{checkpoint.path}: a latent is {quantizer.num_stages} codes of residual quantization, and a "
            "bundle has one; export a model of another method"
        )


def write_graphs(model: QuantizedAutoencoder, *, image_size: int) -> list[WrittenGraphs]:
    """Both graphs of ``model`` in each format, in memory."""
    encoder = CapturedGraph.of(EncoderGraph(model, image_size=image_size))
    decoder = CapturedGraph.of(DecoderGraph(model, image_size=image_size))
    return [
        WrittenGraphs(format=format_, encoder=format_.write(encoder), decoder=format_.write(decoder))
        for format_ in FORMATS
    ]


def codebook_file(quantizer: VectorQuantizer) -> bytes:
    """The safetensors file with ``vectors`` float32 [K, D] and ``coordinates`` int32 [K, G]."""
    vectors = quantizer.codebook.detach().numpy()
    coordinates = quantizer.grid.coordinates().numpy().astype(np.int32)
    return save({"vectors": vectors, "coordinates": coordinates})
