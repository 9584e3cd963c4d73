"""What a call asks of the transport, and what comes back, free of any HTTP library.

A call is a generator of steps: it yields what is to be done, is sent the outcome, and returns its result.
So everything about a call is written once, and each client only does the steps, blocking or awaiting.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The body of a request."""

    content: bytes
    content_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """The step of making a body, which may read files and copies arrays; the outcome is the body."""

    make: Callable[[], Body]


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """The step of sending a request and reading the whole reply; the outcome is a `Reply` or `Lost`."""

    method: str
    path: str
    params: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    content: bytes | None
    timeout_s: float
    """For all of it: connecting, sending, waiting and reading."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """The step of waiting; there is no outcome."""

    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply, complete."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """There is no reply, or not all of one."""

    reason: str


Step = Prepare | Send | Wait
Outcome = Body | Reply | Lost | None
Steps = Generator[Step, Outcome, T]


def prepare(make: Callable[[], Body]) -> Steps[Body]:
    """The body that `make` gives."""
    body = yield Prepare(make=make)
    assert isinstance(body, Body)
    return body


def send(step: Send) -> Steps[Reply | Lost]:
    """What becomes of a request."""
    outcome = yield step
    assert isinstance(outcome, Reply | Lost)
    return outcome
