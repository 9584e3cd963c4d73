"""What the supervisor answers itself, while no worker comes up."""

import asyncio
from collections.abc import Callable

import pytest

from kohonen_tokenizer.service.http.connections import Dealer
from kohonen_tokenizer.service.http.listener import listen
from kohonen_tokenizer.service.http.stand_in import StandIn

BODY = b"a" * 10_000_000


def answers(*requests: bytes, is_needed: Callable[[], bool] = lambda: True) -> list[bytes]:
    """All that a dealer with a stand-in and no workers sends to clients that send `requests`."""

    async def ask(address: tuple[str, int], request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    async def run() -> list[bytes]:
        with listen("127.0.0.1", 0) as listener:
            dealer = Dealer(listener, takers=[StandIn(is_needed=is_needed)])
            dealer.resume()
            async with asyncio.timeout(10):
                received = await asyncio.gather(
                    *(ask(listener.getsockname(), request) for request in requests)
                )
            dealer.close()
            return list(received)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("request_line", "code_at"),
    [("GET /models?x=1", b'{"error":{"code":"not_ready","message":'), ("GET /v2/health/ready", b"not_ready")],
)
def test_a_request_gets_an_error_of_our_shape(request_line, code_at):
    (answer,) = answers(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    assert b"Retry-After: 1\r\n" in head
    assert b"Connection: close" in head
    assert b"no worker can be started" in body
    assert code_at in answer


def test_a_long_body_does_not_cost_the_client_the_answer():
    head = f"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    (answer,) = answers(head + BODY)
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_a_head_request_gets_no_body():
    (answer,) = answers(b"HEAD /map.png HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_who_sends_no_request_is_let_go_and_the_others_are_answered():
    silent, good = answers(b"a" * 100_000, b"GET / HTTP/1.1\r\n\r\n")
    assert silent == b""
    assert good.startswith(b"HTTP/1.1 503 ")
