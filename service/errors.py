"""The service's errors: one tree, so that a caller can catch as much or as little as it wants.

    TokenizerError                      status  code
    ├── BundleError                     500     invalid_bundle
    │   ├── BundleNotFoundError         500     bundle_not_found          no folder or zip at this path
    │   ├── ManifestError               500     invalid_manifest          not JSON, or not our schema
    │   ├── BundleFileError             500     invalid_bundle_file       a file is missing or changed
    │   ├── GraphError                  500     invalid_graph             a graph does not fit the manifest
    │   └── CodebookError               500     invalid_codebook          a tensor does not fit the manifest
    ├── DeviceError                     500     device_unavailable        no silent fall-back to the CPU
    ├── SettingsError                   500     invalid_settings          an unknown name or a bad value
    ├── AddressError                    500     address_unavailable       the port is taken, or no such host
    ├── WorkerError                     500     worker_failed             a worker process did not start
    ├── NotReadyError                   503     not_ready                 the model warms up, or fails
    ├── StoppingError                   503     stopping                  the server takes no more work
    ├── QueueFullError                  429     queue_full                too much work at once
    ├── DeadlineError                   504     deadline_exceeded         no result in the time allowed
    ├── InferenceError                  500     inference_failed          the model failed on this input
    └── InputError                      400     invalid_input             the caller can fix it
        ├── UnauthorizedError           401     unauthorized              no API key, or an unknown one
        ├── ForbiddenError              403     forbidden                 an API key without the scope
        ├── NotFoundError               404     not_found                 no such path
        ├── ModelNotFoundError          404     model_not_found           no model of this name
        ├── MethodNotAllowedError       405     method_not_allowed        this path takes other methods
        ├── MalformedBodyError          400     malformed_body            a body that does not parse
        ├── BodyTimeoutError            408     body_timeout              a body that comes too slowly
        ├── BodyTooLargeError           413     body_too_large            a body of too many bytes
        ├── HeaderTooLargeError         431     header_too_large          headers of too many bytes
        ├── ImageCountError             413     too_many_images           too many for one request
        ├── MediaTypeError              415     unsupported_media_type    a body of a type we do not read
        ├── NotAcceptableError          406     not_acceptable            Accept names no type of ours
        ├── ImageDecodeError            400     undecodable_image         empty, truncated or damaged
        ├── ImageFormatError            415     unsupported_image_format  not a JPEG, PNG or WebP
        ├── ImagePixelsError            413     too_many_pixels           an image's, or all images' together
        ├── ImageSizeError              422     image_size_mismatch       resize="strict" and another size
        ├── PixelsError                 422     invalid_pixels            an array of the wrong type or shape
        ├── TokensError                 422     invalid_tokens            an array of the wrong type or shape
        ├── TokenRangeError             422     token_out_of_range        no such code in the codebook
        ├── CodebookMismatchError       409     codebook_mismatch         not the codebook that was expected
        ├── LoadError                   422     load_failed               a version that cannot be served
        ├── LoadBusyError               409     load_in_progress          another version is being loaded
        └── ParameterError              422     invalid_parameter         a value outside its limits

Bundle, device, settings, address and worker errors end a start-up; they are the operator's to fix, never a
client's answer.
`status` is the HTTP status and `code` the stable name that a client may compare; both belong to the class.
A message is one line: the value, the limit and the fix.
"""

from typing import ClassVar

MAX_MESSAGE_CHARS = 1000


class TokenizerError(Exception):
    """Base of every error that this service raises on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        self.message = _one_line(message)
        super().__init__(self.message)


def _one_line(message: str) -> str:
    """`message` as a log or a terminal may have it.

    Messages quote bundles and images, which may hold line breaks, what a terminal obeys, and megabytes.
    """
    line = " ".join(message.split())
    if not line.isprintable():
        line = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
        )
    if len(line) > MAX_MESSAGE_CHARS:
        # Out of the middle, for the fix is at the end.
        line = f"{line[: MAX_MESSAGE_CHARS - 255]} ... {line[-250:]}"
    return line


class BundleError(TokenizerError):
    """This bundle cannot be served."""

    code = "invalid_bundle"


class BundleNotFoundError(BundleError):
    """There is no bundle at this path."""

    code = "bundle_not_found"


class ManifestError(BundleError):
    """manifest.json is not JSON, is of another schema version, or does not fit the schema."""

    code = "invalid_manifest"


class BundleFileError(BundleError):
    """A file of the bundle is missing, unreadable, or not the one that the manifest describes."""

    code = "invalid_bundle_file"


class GraphError(BundleError):
    """A graph does not load, or its inputs and outputs do not fit the manifest."""

    code = "invalid_graph"


class CodebookError(BundleError):
    """The codebook's tensors do not fit the manifest."""

    code = "invalid_codebook"


class DeviceError(TokenizerError):
    """The device asked for is unknown or cannot run the model, or its engine is not installed."""

    code = "device_unavailable"


class SettingsError(TokenizerError):
    """A setting is unknown, or its value is outside its limits."""

    code = "invalid_settings"


class AddressError(TokenizerError):
    """The service cannot listen on this host and port."""

    code = "address_unavailable"


class WorkerError(TokenizerError):
    """A worker process did not come up when the server started."""

    code = "worker_failed"


class NotReadyError(TokenizerError):
    """The model has not warmed up yet, or its warm-up failed."""

    status = 503
    code = "not_ready"


class StoppingError(TokenizerError):
    """The server was told to stop: it finishes its work and takes on no more."""

    status = 503
    code = "stopping"


class QueueFullError(TokenizerError):
    """As much is in work as the limits allow; the same request may succeed later."""

    status = 429
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        """Take the message and the seconds after which there may be room."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(TokenizerError):
    """There was no result within the time that the request, or the service, allows."""

    status = 504
    code = "deadline_exceeded"


class InferenceError(TokenizerError):
    """The model failed on this input, alone in its batch."""

    code = "inference_failed"


class InputError(TokenizerError):
    """The caller's input is at fault and the caller can fix it."""

    status = 400
    code = "invalid_input"

    def __init__(self, message: str, *, index: int | None = None) -> None:
        """Take the message and, where one of several images or token grids is at fault, which: 0 or more."""
        super().__init__(message)
        self.index = index


class UnauthorizedError(InputError):
    """The request has no API key, or one that this service does not know."""

    status = 401
    code = "unauthorized"


class ForbiddenError(InputError):
    """The request's API key does not have the scope that this call needs."""

    status = 403
    code = "forbidden"


class NotFoundError(InputError):
    """There is nothing at this path."""

    status = 404
    code = "not_found"


class ModelNotFoundError(InputError):
    """No model of this name is served."""

    status = 404
    code = "model_not_found"


class MethodNotAllowedError(InputError):
    """There is something at this path, but not for this method."""

    status = 405
    code = "method_not_allowed"


class MalformedBodyError(InputError):
    """The request's body does not parse as what it claims to be."""

    code = "malformed_body"


class BodyTimeoutError(InputError):
    """The request's body was not complete within the time that it may take."""

    status = 408
    code = "body_timeout"


class BodyTooLargeError(InputError):
    """The request's body has more bytes than one request may have."""

    status = 413
    code = "body_too_large"


class HeaderTooLargeError(InputError):
    """The request line and the headers have more bytes than the service reads."""

    status = 431
    code = "header_too_large"


class ImageCountError(InputError):
    """The request holds more images, or token grids, than one request may have."""

    status = 413
    code = "too_many_images"


class MediaTypeError(InputError):
    """The request's body is of a media type that the service does not read."""

    status = 415
    code = "unsupported_media_type"


class NotAcceptableError(InputError):
    """The request's Accept names no media type that this reply can have."""

    status = 406
    code = "not_acceptable"


class ImageDecodeError(InputError):
    """The bytes are an image of a known format, but empty, truncated or damaged."""

    code = "undecodable_image"


class ImageFormatError(InputError):
    """The bytes are not a JPEG, PNG or WebP image."""

    status = 415
    code = "unsupported_image_format"


class ImagePixelsError(InputError):
    """An image, by its header, or all images of a request have more pixels than the limit."""

    status = 413
    code = "too_many_pixels"


class ImageSizeError(InputError):
    """The image is not of the model's size and may not be resized."""

    status = 422
    code = "image_size_mismatch"


class PixelsError(InputError):
    """A pixel array is not uint8 [B, H, W, 3] of the model's size."""

    status = 422
    code = "invalid_pixels"


class TokensError(InputError):
    """A token array is not of integers [B, h, w] of the model's latent grid."""

    status = 422
    code = "invalid_tokens"


class TokenRangeError(InputError):
    """A token names no code: it is negative, or not below the codebook size."""

    status = 422
    code = "token_out_of_range"


class CodebookMismatchError(InputError):
    """The model has another codebook than the request expects: its tokens would mean something else."""

    status = 409
    code = "codebook_mismatch"


class LoadError(InputError):
    """The version to load is not there, is no sound bundle, or fails its self-check; nothing has changed."""

    status = 422
    code = "load_failed"


class LoadBusyError(InputError):
    """One version is loaded at a time, and when every worker is up."""

    status = 409
    code = "load_in_progress"


class ParameterError(InputError):
    """A parameter is unknown, outside its limits, or contradicts another."""

    status = 422
    code = "invalid_parameter"
