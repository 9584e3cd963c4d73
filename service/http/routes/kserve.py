"""/v2: the Open Inference Protocol, so that clients of Triton and KServe work unchanged."""

import time
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ...errors import (
    ImageCountError,
    ImageDecodeError,
    ImageFormatError,
    ImagePixelsError,
    ImageSizeError,
    MalformedBodyError,
    ModelNotFoundError,
    NotReadyError,
    ParameterError,
    PixelsError,
    StoppingError,
    TokenRangeError,
    TokensError,
)
from .. import media
from ..admission import Place
from ..bodies import read_content
from ..kserve.compression import accepted_encoding, content_encoding, decompress
from ..kserve.docs import ModelName, object_docs, protocol_docs
from ..kserve.messages import InferBody, InferRequest, read_request
from ..kserve.models import ProtocolModel, outputs_of, protocol_models, use
from ..kserve.replies import (
    HEADER_LENGTH,
    SERVER_METADATA,
    infer_response,
    model_config,
    model_index,
    model_metadata,
)
from ..openapi import BODY_ERRORS, WORK_ERRORS, binary_body, json_body, request_docs
from ..parameters import NoParameters, Parameters, parameter_docs
from ..replies import json_response
from ..service import Service, ServiceDep

router = APIRouter(prefix="/v2", tags=["open inference protocol"], dependencies=[NoParameters])


async def _version(request: Request) -> str | None:
    version: str | None = request.path_params.get("version")
    return version


# Where the path has one. As an argument with a default it would be a parameter of the query, too.
Version = Annotated[str | None, Depends(_version)]

_UNREADY = (NotReadyError, StoppingError)


@router.get(
    "",
    summary="The server",
    response_class=Response,
    responses=protocol_docs("Its name and version.", object_docs("name", "version", "extensions")),
)
async def get_server() -> Response:
    """Tell which server this is, and which extensions of the protocol it has."""
    return json_response(SERVER_METADATA)


@router.get(
    "/health/live",
    summary="Is the process alive?",
    response_class=Response,
    responses=protocol_docs("It is.", object_docs("live")),
)
async def get_live() -> Response:
    """As /healthz."""
    return json_response({"live": True})


@router.get(
    "/health/ready",
    summary="Do the models answer?",
    response_class=Response,
    responses=protocol_docs("They do.", object_docs("ready"), errors=_UNREADY),
)
async def get_ready(service: ServiceDep) -> Response:
    """As /readyz."""
    service.require_ready()
    return json_response({"ready": True})


@router.get(
    "/models/{name}",
    summary="A model's inputs and outputs",
    response_class=Response,
    responses=protocol_docs(
        "What the model takes and gives.",
        object_docs("name", "versions", "platform", "inputs", "outputs"),
        errors=(ModelNotFoundError, NotReadyError),
    ),
)
@router.get("/models/{name}/versions/{version}", include_in_schema=False)
async def get_model(service: ServiceDep, name: ModelName, version: Version) -> Response:
    """Give names, datatypes and shapes. Each bundle is two models, NAME-encoder and NAME-decoder.

    This call and those below it also exist for a version: /v2/models/NAME/versions/VERSION.
    """
    with use(service.models, name, version=version, settings=service.settings) as model:
        return json_response(model_metadata(model))


@router.get("/models/{name}/config", include_in_schema=False)
@router.get("/models/{name}/versions/{version}/config", include_in_schema=False)
async def get_model_config(service: ServiceDep, name: ModelName, version: Version) -> Response:
    """The same in the shape of Triton's configuration."""
    with use(service.models, name, version=version, settings=service.settings) as model:
        return json_response(model_config(model))


@router.get(
    "/models/{name}/ready",
    summary="Does a model answer?",
    response_class=Response,
    responses=protocol_docs("It does.", object_docs("name", "ready"), errors=(ModelNotFoundError, *_UNREADY)),
)
@router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
async def get_model_ready(service: ServiceDep, name: ModelName, version: Version) -> Response:
    """Answer 200 if the model ran in the last seconds, by the same truth as /readyz."""
    with use(service.models, name, version=version, settings=service.settings) as model:
        if service.is_stopping:
            raise StoppingError("the server stops; use another one")
        model.served.canaries.require_alive()
        return json_response({"name": name, "ready": True})


@router.post("/repository/index", include_in_schema=False)
async def get_index(service: ServiceDep) -> Response:
    """Triton's list of models."""
    models = protocol_models(service.models, settings=service.settings)
    return Response(orjson.dumps(model_index(models)), media_type=media.JSON)


_INFER_REQUEST = request_docs(
    json_body(InferBody),
    binary_body(media.OCTETS, f"the same, and binary data from the byte that {HEADER_LENGTH} names on"),
)


@router.post(
    "/models/{name}/infer",
    summary="Inference, by tensors",
    response_class=Response,
    responses=protocol_docs(
        "The outputs, as JSON or with binary data behind it.",
        object_docs("model_name", "model_version", "outputs"),
        is_binary=True,
        headers=("Vary", "Content-Encoding", HEADER_LENGTH),
        errors=(
            *WORK_ERRORS,
            *BODY_ERRORS,
            ImageCountError,
            ImageDecodeError,
            ImageFormatError,
            ImagePixelsError,
            ImageSizeError,
            PixelsError,
            TokensError,
            TokenRangeError,
        ),
    ),
    openapi_extra=_INFER_REQUEST | parameter_docs(Parameters, headers=(HEADER_LENGTH, "X-Timeout-S")),
)
@router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
async def infer(request: Request, service: ServiceDep, name: ModelName, version: Version) -> Response:
    """Encode or decode, as JSON or with binary tensors, which may be compressed by gzip or deflate."""
    started = time.monotonic()
    deadline = service.deadline(request)
    header_bytes = _header_bytes(request)
    encoding = accepted_encoding(request.headers.get("accept-encoding"))
    with (
        service.admission(deadline=deadline) as place,
        use(service.models, name, version=version, settings=service.settings) as model,
    ):
        content = await _content(request, model, service=service, place=place)
        read = partial(
            read_request, content, header_bytes=header_bytes, max_header_bytes=model.max_header_bytes
        )
        json_bytes = len(content) if header_bytes is None else header_bytes
        message = await service.run_small(model.operation, "decode", read, num_values=json_bytes)
        deadline = min(deadline, started + _timeout_s(message, service=service))
        requested = model.requested(message)
        prepare = service.timed(model.operation, "decode", partial(model.read, message))
        result = await model.run(prepare, deadline=deadline, receive=request.receive)
        reply = partial(
            infer_response,
            outputs_of(model.split(result), requested=requested),
            request_id=message.id,
            model=model,
            encoding=encoding,
        )
        return await service.run_small(model.operation, "encode", reply, num_values=result.size)


async def _content(request: Request, model: ProtocolModel, *, service: Service, place: Place) -> bytes:
    """The body of `request`, decompressed if it is compressed. Clients of Triton send no Content-Type."""
    encoding = content_encoding(request.headers.get("content-encoding"))
    max_bytes = service.settings.max_body_bytes
    content = await read_content(request, max_bytes=max_bytes, service=service, place=place)
    if encoding is None:
        return content
    read = partial(decompress, content, encoding=encoding, max_bytes=max_bytes)
    plain = await service.run(model.operation, "decode", read)
    place.add_bytes(len(plain))
    return plain


def _header_bytes(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MalformedBodyError(f"{HEADER_LENGTH} is {text[:50]!r}; give the bytes of the JSON, in digits")
    return int(text)


def _timeout_s(message: InferRequest, *, service: Service) -> float:
    """The seconds that `message` allows; as X-Timeout-S it may lower the limit, and not raise it."""
    limit_s = service.settings.timeout_s
    timeout_us = message.parameters.timeout
    if timeout_us > limit_s * 1e6:
        raise ParameterError(f"timeout is {timeout_us} microseconds; give at most {limit_s * 1e6:.0f}")
    return timeout_us / 1e6 or limit_s
