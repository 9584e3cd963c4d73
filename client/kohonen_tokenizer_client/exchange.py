"""One call to the service: sent, repeated while that may help and there is time, and read."""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

from .errors import ClientError, DeadlineError, ReplyError, lost_error, reply_error
from .transport import Body, Reply, Send, Steps, Wait, send

T = TypeVar("T")

# The service answers at the time it was given; its word, with a reason, is better than a closed connection.
_GRACE_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[T]):
    """A request to the service, and how to read its reply.

    Every call computes and changes nothing, POST too: that is why it may be sent again whatever became of it.
    """

    path: str
    accept: str
    read: Callable[[Reply], T]
    """Raises ValueError, KeyError or TypeError for what is no reply of the service."""
    params: Sequence[tuple[str, str]] = ()
    body: Body | None = None
    """Without one it is a GET."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to try."""

    timeout_s: float
    """Seconds of a call, with all of its repetitions and the waits between."""
    request_timeout_s: float
    """Seconds of one request."""
    max_retries: int
    """Repetitions after failures without a Retry-After of the service. Where there is one, time decides."""
    first_wait_s: float = 0.1
    longest_wait_s: float = 8.0

    def wait_s(self, error: ClientError, *, num_tries: int) -> float:
        """Seconds to wait after the try `num_tries` (1 is the first) ended in `error`.

        They double with each try and are never the same, so that clients refused together do not come back
        together. What the service asks for is the least.
        """
        wait_s = min(self.longest_wait_s, math.ldexp(self.first_wait_s, min(num_tries - 1, 16)))
        return max(
            wait_s * random.uniform(0.5, 1.0), (error.retry_after_s or 0.0) * random.uniform(1.0, 1.25)
        )


def exchange(
    call: Call[T], *, headers: Mapping[str, str], patience: Patience, deadline: float = math.inf
) -> Steps[T]:
    """What the service answers to `call`.

    Args:
        call: what is asked.
        headers: for this service.
        patience: how long to try.
        deadline: a time of `time.monotonic` that is the end in any case.

    Raises:
        ClientError: the subclass that says what went wrong.
    """
    # The same for all tries: together they are one line of thought in the server's log.
    request_id = f"{random.getrandbits(128):032x}"
    deadline = min(deadline, time.monotonic() + patience.timeout_s)
    num_tries = num_failures = 0
    error: ClientError | None = None
    while True:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise _too_late(call, error, request_id=request_id) from error
        num_tries += 1
        try:
            return (yield from _try_once(call, headers, patience, remaining_s, request_id=request_id))
        except ClientError as failure:
            error = failure
        if not error.is_temporary:
            raise error
        if error.retry_after_s is None:
            num_failures += 1
            if num_failures > patience.max_retries:
                raise error
        wait_s = patience.wait_s(error, num_tries=num_tries)
        if time.monotonic() + wait_s >= deadline:
            raise _too_late(call, error, request_id=request_id) from error
        yield Wait(seconds=wait_s)


def _try_once(
    call: Call[T], headers: Mapping[str, str], patience: Patience, remaining_s: float, *, request_id: str
) -> Steps[T]:
    service_s = min(remaining_s, patience.request_timeout_s)
    own = {"Accept": call.accept, "X-Request-Id": request_id, "X-Timeout-S": f"{max(service_s, 0.001):.3f}"}
    if call.body is not None:
        own["Content-Type"] = call.body.content_type
    outcome = yield from send(
        Send(
            method="GET" if call.body is None else "POST",
            path=call.path,
            params=call.params,
            headers={**headers, **own},
            content=None if call.body is None else call.body.content,
            timeout_s=min(remaining_s, service_s + _GRACE_S),
        )
    )
    if not isinstance(outcome, Reply):
        raise lost_error(outcome, request_id=request_id)
    if outcome.status != HTTPStatus.OK:
        raise reply_error(outcome, request_id=request_id)
    try:
        return call.read(outcome)
    except (ValueError, KeyError, TypeError) as error:
        raise ReplyError(
            f"the reply to {call.path} is not what this service sends ({error})",
            code="unknown_reply",
            status=outcome.status,
            request_id=outcome.headers.get("x-request-id", request_id),
        ) from error


def _too_late(call: Call[T], error: ClientError | None, *, request_id: str) -> DeadlineError:
    last = "" if error is None else f"; the last try: {error}"
    return DeadlineError(
        f"no result of {call.path} in the time allowed{last}",
        code="deadline_exceeded",
        request_id=request_id if error is None else error.request_id,
    )
