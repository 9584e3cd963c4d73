"""Replies of the Open Inference Protocol, and of what Triton has beside it: a model's configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from kohonen_tokenizer import __version__

from .. import media
from .compression import COMPRESSORS
from .models import Output, ProtocolModel, TensorSpec

HEADER_LENGTH = "Inference-Header-Content-Length"

SERVER_METADATA = {
    "name": "kohonen-tokenizer",
    "version": __version__,
    "extensions": ["binary_tensor_data", "model_configuration"],
}

_PLATFORM = "kohonen_tokenizer"


def model_metadata(model: ProtocolModel) -> dict[str, Any]:
    """What a model takes and gives: of an encoder's inputs one is enough, a decoder needs all."""
    return {
        "name": model.name,
        "versions": [model.served.version],
        "platform": _PLATFORM,
        "inputs": [_metadata(spec) for spec in model.inputs],
        "outputs": [_metadata(spec) for spec in model.outputs],
    }


def model_config(model: ProtocolModel) -> dict[str, Any]:
    """The same as Triton's model configuration has it; there the batch is a dimension like the others."""
    is_optional = len(model.inputs) > 1 and not model.needs_all
    return {
        "name": model.name,
        "platform": _PLATFORM,
        "backend": _PLATFORM,
        "max_batch_size": 0,
        "input": [_config(spec) | {"optional": is_optional} for spec in model.inputs],
        "output": [_config(spec) for spec in model.outputs],
    }


def model_index(models: Sequence[ProtocolModel]) -> list[dict[str, str]]:
    """Triton's list of what is served."""
    return [
        {"name": model.name, "version": model.served.version, "state": "READY", "reason": ""}
        for model in models
    ]


def infer_response(
    outputs: Sequence[Output], *, request_id: str | None, model: ProtocolModel, encoding: str | None
) -> Response:
    """The reply with `outputs`: as JSON, with the binary ones behind it, compressed as `encoding` says."""
    told: dict[str, Any] = {
        "model_name": model.name,
        "model_version": model.served.version,
        "parameters": {"codebook_hash": model.served.identity["codebook_hash"]},
        "outputs": [_output(output) for output in outputs],
    }
    if request_id is not None:
        told["id"] = request_id
    text = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
    binary = [output.array.tobytes() for output in outputs if output.is_binary]
    content = b"".join([text, *binary])
    headers = {"Vary": "Accept-Encoding"}
    if binary:
        headers[HEADER_LENGTH] = str(len(text))
    if encoding is not None:
        headers["Content-Encoding"] = encoding
        content = COMPRESSORS[encoding](content)
    return Response(content, headers=headers, media_type=media.OCTETS if binary else media.JSON)


def _output(output: Output) -> Mapping[str, Any]:
    told = {
        "name": output.spec.name,
        "datatype": output.spec.datatype,
        "shape": output.array.shape,
    }
    if output.is_binary:
        return told | {"parameters": {"binary_data_size": output.array.nbytes}}
    return told | {"data": output.array.ravel()}


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _config(spec: TensorSpec) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.shape}
