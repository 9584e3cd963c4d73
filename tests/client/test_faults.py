"""What networks, balancers and busy services do to requests, and what the client makes of it."""

import asyncio
import threading
import time

import numpy as np
import pytest

from kohonen_tokenizer_client import (
    AsyncClient,
    Client,
    DeadlineError,
    InputError,
    ReplyError,
    ServiceError,
    TransportError,
    UnavailableError,
)

from .faulty_proxy import Fault, faulty_proxy

OK = Fault()
QUICK = {"batch_size": 8}


def reply(status: str, body: bytes = b"", *headers: str) -> Fault:
    """A reply made up on the way."""
    lines = "".join(
        f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}")
    )
    return Fault(answer=f"{lines}\r\n".encode() + body)


REFUSED = reply("429 Too Many Requests", b"", "Retry-After: 0", "X-Request-Id: busy")


@pytest.fixture(scope="module")
def strict_server(start_server, tiny_bundle):
    """A server with limits that a few images reach."""
    return start_server(tiny_bundle, max_images=5, max_body_bytes=4000)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(drop=True),
        Fault(drop_reply=True),
        Fault(truncate=True),
        REFUSED,
        reply("502 Bad Gateway", b"<html>no JSON</html>"),
        reply("503 Service Unavailable", b"[1]", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
        reply("504 Gateway Timeout", b'{"error": "plain"}'),
        reply("408 Request Timeout", b"", "Retry-After: soon"),
        reply("200 OK", b"\x93NUMPY\x01\x00", "Content-Type: application/x-npy"),
        reply("200 OK", b"welcome to the hotel's network"),
    ],
)
def test_a_call_outlives_a_fault(make_client, server, tokenizer, random_images, fault):
    with faulty_proxy(server.url, fault, OK, OK, fault, fault) as proxy:
        client = make_client(proxy.url, **QUICK)
        np.testing.assert_array_equal(client.encode(random_images), tokenizer.encode(random_images))
        assert not proxy.faults
        assert len(proxy.requests) == 1 + 9 + 3
        # The tries of one request are known by one id.
        assert len(set(proxy.headers("x-request-id"))) == 1 + 9


def test_a_storm_of_429_is_sat_out(make_client, server, tokenizer, random_images):
    with faulty_proxy(server.url, OK, *[REFUSED] * 40) as proxy:
        client = make_client(proxy.url, batch_size=2, concurrency=8, max_retries=0)
        np.testing.assert_array_equal(client.encode(random_images), tokenizer.encode(random_images))
    assert len(proxy.requests) == 1 + 35 + 40


def test_retry_after_is_waited_for(make_client, server):
    with faulty_proxy(server.url, reply("429 Too Many", b"", "Retry-After: 1")) as proxy:
        started = time.monotonic()
        make_client(proxy.url, max_retries=0).models()
        assert time.monotonic() - started >= 1


def test_failures_without_retry_after_are_repeated_so_often_and_no_more(make_client, server):
    with faulty_proxy(server.url, *[Fault(drop=True)] * 10) as proxy:
        with pytest.raises(TransportError) as caught:
            make_client(proxy.url, max_retries=2).models()
        assert len(proxy.requests) == 3
        assert caught.value.code == "no_reply"
        assert caught.value.request_id in proxy.headers("x-request-id")


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (
            reply("500 Oops", b'{"error": {"code": "internal_error", "message": "m"}}'),
            ServiceError,
            "internal_error",
        ),
        (reply("400 Bad Request"), InputError, "http_400"),
        (reply("413 Too Large"), InputError, "http_413"),
        (reply("302 Found", b"", "Location: /elsewhere"), ServiceError, "http_302"),
    ],
)
def test_what_repeating_does_not_help_is_not_repeated(make_client, server, fault, error, code):
    with faulty_proxy(server.url, fault) as proxy:
        with pytest.raises(error) as caught:
            make_client(proxy.url).models()
        assert (type(caught.value), caught.value.code) == (error, code)
        assert len(proxy.requests) == 1


def test_what_is_no_reply_of_the_service_is_said_to_be_none(make_client, server):
    with (
        faulty_proxy(server.url, reply("200 OK", b'{"models": 3}')) as proxy,
        pytest.raises(ReplyError, match="not what this service sends"),
    ):
        make_client(proxy.url, max_retries=0).models()


def test_no_service_is_an_error_of_the_transport(make_client):
    with pytest.raises(TransportError, match=r"refused|failed"):
        make_client("http://127.0.0.1:9", max_retries=0).models()


def test_a_slow_try_is_cut_off_and_another_made(make_client, server):
    with faulty_proxy(server.url, Fault(delay_s=30)) as proxy:
        started = time.monotonic()
        make_client(proxy.url, request_timeout_s=0.2).models()
        assert time.monotonic() - started < 10
        assert proxy.headers("x-timeout-s") == ["0.200"] * 2


@pytest.mark.parametrize(
    "fault", [Fault(delay_s=60), REFUSED, reply("503 No", b"", "Retry-After: 600"), Fault(drop=True)]
)
def test_the_deadline_ends_a_call_whatever_happens(make_client, server, random_images, fault):
    with faulty_proxy(server.url, OK, *[fault] * 100) as proxy:
        client = make_client(proxy.url, max_retries=100, **QUICK)
        client.models()
        started = time.monotonic()
        for call in (
            lambda: client.encode(random_images, deadline_s=0.5),
            lambda: client.neighbors(0, deadline_s=0.5),
        ):
            with pytest.raises(DeadlineError) as caught:
                call()
            assert caught.value.code == "deadline_exceeded"
        assert time.monotonic() - started < 10
        # The service is told, so that it does not work on for nobody.
        assert all(float(seconds) <= 0.5 for seconds in proxy.headers("x-timeout-s")[1:])


def test_the_last_refusal_is_told_when_time_is_up(make_client, server):
    with faulty_proxy(server.url, *[REFUSED] * 100) as proxy, pytest.raises(DeadlineError) as caught:
        make_client(proxy.url, timeout_s=0.5).models()
    assert isinstance(caught.value.__cause__, UnavailableError)
    assert caught.value.request_id == "busy"


def test_a_deadline_of_the_service_is_the_clients_too(server):
    # Too little time for the way back: the service answers 504, or the client's clock is first.
    with Client(server.url) as client, pytest.raises(DeadlineError):
        client.encode(np.zeros((2000, 8, 8, 3), np.uint8), deadline_s=0.002)


def test_batches_that_are_too_large_are_halved_and_later_ones_smaller(
    make_client, strict_server, tokenizer, random_images
):
    with faulty_proxy(strict_server.url) as proxy:
        client = make_client(proxy.url, batch_size=16, concurrency=1)
        tokens = client.encode(random_images)
        np.testing.assert_array_equal(tokens, tokenizer.encode(random_images))
        num_requests = len(proxy.requests)
        np.testing.assert_array_equal(client.encode(random_images), tokens)
        # 70 images in batches of 4, and none refused any more.
        assert len(proxy.requests) - num_requests == 18
        np.testing.assert_array_equal(client.decode(tokens), tokenizer.decode(tokens))


def test_bodies_that_are_too_large_are_halved(make_client, server, strict_server, crop_photos, image_file):
    files = [image_file(photo) for photo in crop_photos(16, size=28)]
    assert sum(map(len, files[:4])) > 4000
    expected = make_client(server.url).encode(files)
    client = make_client(strict_server.url, batch_size=4, concurrency=1)
    np.testing.assert_array_equal(client.encode(files), expected)
    with pytest.raises(InputError) as caught:
        client.encode([*files[:3], bytes(5000)])
    assert (caught.value.code, caught.value.index) == ("body_too_large", 3)


def test_a_source_that_never_ends_is_read_no_further_than_needed(make_client, server, random_images):
    num_read = 0

    def endless():
        nonlocal num_read
        while True:
            yield random_images[num_read % 70]
            num_read += 1

    with faulty_proxy(server.url, OK, *[Fault(delay_s=0.05)] * 30) as proxy:
        client = make_client(proxy.url, batch_size=4, concurrency=3)
        stream = client.encode_stream(endless())
        for number, _ in enumerate(stream, 1):
            # Twice the concurrency in batches ahead of what was taken, and the one that is being filled.
            assert num_read <= number + 4 * (2 * 3 + 1)
            if number == 60:
                break
        stream.close()
        assert proxy.most_at_once == 3
        num_requests = len(proxy.requests)
        time.sleep(0.5)
        # Those that were on their way, and none of the batches that waited.
        assert len(proxy.requests) <= num_requests + 3


def test_an_async_source_is_read_no_further_than_needed(server, tokenizer, random_images):
    num_read = 0

    async def endless():
        nonlocal num_read
        while True:
            yield random_images[num_read % 70]
            num_read += 1
            await asyncio.sleep(0)

    async def take(count):
        tokens = []
        async with AsyncClient(server.url, batch_size=4, concurrency=3) as client:
            async for grid in client.encode_stream(endless()):
                tokens.append(grid)
                assert num_read <= len(tokens) + 4 * (2 * 3 + 1)
                if len(tokens) == count:
                    break
        return np.stack(tokens)

    np.testing.assert_array_equal(asyncio.run(take(50)), tokenizer.encode(random_images)[:50])


def test_a_canceled_call_ends_its_requests(server, random_images):
    async def cancel_midway(proxy):
        async with AsyncClient(proxy.url, **QUICK) as client:
            call = asyncio.create_task(client.encode(random_images))
            while len(proxy.requests) < 5:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if not task.done()]

    started = time.monotonic()
    with faulty_proxy(server.url, OK, *[Fault(delay_s=60)] * 20) as proxy:
        asyncio.run(cancel_midway(proxy))
    assert time.monotonic() - started < 30


def test_a_failed_item_ends_the_requests_that_wait(server, image_file, random_images):
    # The first four batches are answered; those after them would try for a minute.
    images = [b"no image"] * 32 + [image_file(image) for image in random_images]
    started = time.monotonic()
    with faulty_proxy(server.url, *[OK] * 5, *[REFUSED] * 1000) as proxy:
        with Client(proxy.url, **QUICK) as client, pytest.raises(InputError):
            client.encode(images)
        # Closing has waited for the threads, which have stopped trying.
        assert len(proxy.requests) < 60
    assert time.monotonic() - started < 30


def test_a_client_serves_several_threads(client, tokenizer, random_images):
    expected = tokenizer.encode(random_images)
    results = {}

    def work(number):
        results[number] = client.encode(random_images)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for tokens in results.values():
        np.testing.assert_array_equal(tokens, expected)


def test_connections_are_used_again(make_client, server, random_images):
    with faulty_proxy(server.url) as proxy:
        make_client(proxy.url, concurrency=2, batch_size=2).encode(random_images)
    assert len(proxy.requests) == 1 + 35
    assert proxy.num_connections <= 3
