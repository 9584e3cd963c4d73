"""The client's errors: one tree, so that a caller can catch as much or as little as it wants.

    ClientError
    ├── TransportError              no whole reply came: refused, dropped, cut off
    ├── ReplyError                  a reply came that is none of this service's
    ├── DeadlineError         504   no result in the time allowed: the service's word, or this client's clock
    └── ServiceError          5xx   the service failed, on a bug or on this input
        ├── UnavailableError  429, 502, 503   no room or not ready; the same request may succeed later
        └── InputError        4xx   the caller can fix it
            ├── UnauthorizedError       401, 403   no API key, an unknown one, or one without the scope
            ├── NotFoundError           404        no model of this name, or no such path
            └── CodebookMismatchError   409        the model has another codebook than the expected one

`code` is the service's stable name for the error, such as "token_out_of_range"; where the client itself found
it, it has the code that the service would have given.
"""

import email.utils
import json
import math
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .transport import Lost, Reply


class ClientError(Exception):
    """Base of every error that this client raises on purpose.

    Attributes:
        message: one line.
        code: stable, to be compared by programs.
        status: the HTTP status, or None where no reply is the cause.
        request_id: by which the server's log knows the request, or None where none was sent.
        index: of several images or grids the one at fault, counted over the whole call; None where it is the
            fault of none.
        retry_after_s: seconds after which the service says that the request may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "client_error",
        status: int | None = None,
        request_id: str | None = None,
        index: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id
        self.index = index
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        item = "" if self.index is None else f"item {self.index}: "
        request = "" if self.request_id is None else f", request {self.request_id}"
        return f"{item}{self.message} ({self.code}{request})"

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed if it is sent again."""
        return False

    def place(self, *, first: int, count: int) -> None:
        """Count `index` over the whole call: this met a request of `count` items, the first being `first`."""
        if self.index is not None:
            # The service counts within the request, in its message too.
            self.message = self.message.removeprefix(f"image {self.index}: ")
            self.index += first
        elif count == 1 and isinstance(self, InputError) and self.code != "invalid_parameter":
            self.index = first


class TransportError(ClientError):
    """No whole reply came."""

    @property
    def is_temporary(self) -> bool:
        """True: every call only computes, so that it may be sent again even if it was answered already."""
        return True


class ReplyError(TransportError):
    """A reply came that does not hold what it should: something between here and the service changed it."""


class DeadlineError(ClientError):
    """There was no result within the time that the call may take."""

    @property
    def is_temporary(self) -> bool:
        """Whether it was one request that took too long: there may be time for another."""
        return self.status is not None


class ServiceError(ClientError):
    """The service answered with an error."""


class UnavailableError(ServiceError):
    """The service has no room or is not ready."""

    @property
    def is_temporary(self) -> bool:
        """True."""
        return True


class InputError(ServiceError):
    """The caller's input is at fault and the caller can fix it."""

    @property
    def is_temporary(self) -> bool:
        """Whether the body came too slowly: that is the network's fault."""
        return self.status == HTTPStatus.REQUEST_TIMEOUT


class UnauthorizedError(InputError):
    """The client has no API key, or one that the service does not know or that may not make this call."""


class NotFoundError(InputError):
    """There is no such model, or nothing at this path."""


class CodebookMismatchError(InputError):
    """The model has another codebook than this client expects; to go on with it, make a new client."""


_CLASSES: Mapping[int, type[ClientError]] = {
    HTTPStatus.UNAUTHORIZED: UnauthorizedError,
    HTTPStatus.FORBIDDEN: UnauthorizedError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: CodebookMismatchError,
    HTTPStatus.TOO_MANY_REQUESTS: UnavailableError,
    HTTPStatus.BAD_GATEWAY: UnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: DeadlineError,
}


def lost_error(lost: Lost, *, request_id: str) -> ClientError:
    """What is raised if there is no reply."""
    return TransportError(lost.reason, code="no_reply", request_id=request_id)


def reply_error(reply: Reply, *, request_id: str) -> ClientError:
    """What is raised for `reply`, whose status is not 200."""
    told = _told_by(reply.content)
    input_statuses = range(HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
    kind = _CLASSES.get(reply.status, InputError if reply.status in input_statuses else ServiceError)
    # Something on the way, such as a proxy, answers without our JSON.
    message = told.get("message", f"the reply has status {reply.status} and says nothing of its cause")
    index = told.get("index")
    return kind(
        str(message),
        code=str(told.get("code", f"http_{reply.status}")),
        status=reply.status,
        request_id=str(told.get("request_id", reply.headers.get("x-request-id", request_id))),
        index=index if isinstance(index, int) else None,
        retry_after_s=_seconds(reply.headers.get("retry-after")),
    )


def _told_by(content: bytes) -> Mapping[str, Any]:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After: a number or a date (RFC 9110, section 10.2.3); None for anything else."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
