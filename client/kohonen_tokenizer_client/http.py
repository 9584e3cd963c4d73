"""httpx, and what is ours: the one place that knows which HTTP library carries the steps."""

import ssl
from typing import TypedDict

import httpx

from .transport import Lost, Reply, Send

# A server that is there takes a connection in far less.
_CONNECT_TIMEOUT_S = 10.0

# What a connection may fail with; the step that met it has the outcome Lost.
FAILURES = (httpx.TransportError, httpx.DecodingError)


class HttpOptions(TypedDict):
    """What both of httpx's clients are made with."""

    base_url: str
    headers: dict[str, str]
    limits: httpx.Limits
    verify: ssl.SSLContext | bool


def http_options(base_url: str, *, concurrency: int, ssl_context: ssl.SSLContext | None) -> HttpOptions:
    """What both clients are made with.

    Raises:
        ValueError: no URL of HTTP, or no request at once.
    """
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url is {base_url!r}; give one like http://localhost:8000")
    if ssl_context is None and base_url.startswith("http://"):
        # To load the usual certificates takes longer than many requests; this one trusts nobody.
        ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; give 1 or more")
    return {
        "base_url": base_url,
        # Images and tokens hardly compress, and doing it takes longer than sending them.
        "headers": {"Accept-Encoding": "identity", "User-Agent": "kohonen-tokenizer-client"},
        # Calls of other threads come on top of the streams' own.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=max(concurrency, 20)),
        "verify": True if ssl_context is None else ssl_context,
    }


def timeout_of(step: Send) -> httpx.Timeout:
    """The most that each part of the step may take."""
    return httpx.Timeout(step.timeout_s, connect=min(step.timeout_s, _CONNECT_TIMEOUT_S))


def reply_of(response: httpx.Response, *, content: bytes) -> Reply:
    """`response` as ours."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status=response.status_code, headers=headers, content=content)


def lost(step: Send, error: Exception) -> Lost:
    """What became of a step that met one of FAILURES, or took too long."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Lost(reason=f"no whole reply of {step.path} came in {step.timeout_s:.1f} s")
    return Lost(reason=f"no whole reply of {step.path} came: {error or type(error).__name__}")
