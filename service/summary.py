"""A bundle's manifest as text for people."""

from collections.abc import Iterator

from pydantic import JsonValue

from .runtime.manifest import Manifest


def summarize(manifest: Manifest) -> str:
    """What is in a bundle, one fact a line; its files must have been found to be as `manifest` says."""
    return "\n".join(_lines(manifest))


def _lines(manifest: Manifest) -> Iterator[str]:
    image, data, checkpoint = manifest.image, manifest.training_data, manifest.checkpoint
    yield f"name           {manifest.name}"
    yield f"description    {manifest.description}"
    yield f"license        {manifest.license}"
    yield f"created        {manifest.created.isoformat()}"
    yield f"image          {image.height} x {image.width} x {image.channels} (height x width x channels)"
    for level in manifest.levels:
        rows, columns = level.latent_grid
        map_shape = " x ".join(map(str, level.map_shape))
        yield f"level          {level.name}: {rows} x {columns} tokens an image"
        yield f"codebook       {level.codebook_size} codes of {level.code_dim} numbers on a {map_shape} map"
        yield f"codebook hash  {level.codebook_sha256}"
    yield f"trained on     {data.name}, {data.num_images} images ({data.license})"
    yield f"checkpoint     step {checkpoint.step}, sha256 {checkpoint.sha256}"
    for package, version in sorted(manifest.versions.items()):
        yield f"made with      {package} {version}"
    for name, value in _scalars(manifest.metrics):
        yield f"metric         {name} {value}"
    for name, record in sorted(manifest.files.items()):
        yield f"file           {name}: {record.bytes} bytes, sha256 {record.sha256}, verified"


def _scalars(metrics: dict[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """The numbers and texts in nested `metrics`, by dotted name; lists are for readers of the JSON."""
    for key, value in metrics.items():
        if isinstance(value, dict):
            yield from _scalars(value, prefix=f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value
