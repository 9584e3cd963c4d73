"""The socket that a server listens on, and how it closes."""

import socket

import pytest

from kohonen_tokenizer.service.errors import AddressError
from kohonen_tokenizer.service.http.listener import listen, refuse_new_connections


def test_a_port_that_is_taken_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port}: Address already in use"):
            listen("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_one_clear_error():
    # An address that is reserved for documentation, so that nobody has it.
    with pytest.raises(AddressError, match=r"'203\.0\.113\.1', port 8000: Cannot assign requested address"):
        listen("203.0.113.1", 8000)


def test_the_socket_lets_asyncio_turn_off_nagles_algorithm():
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_who_waits_to_be_accepted_is_kept_and_who_comes_later_is_not():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as early:
        address = listener.getsockname()
        early.sendall(b"sent")
        refuse_new_connections(listener)
        with socket.socket() as late:
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(address)
        early.sendall(b" and more")
        accepted, _ = listener.accept()
        with accepted:
            received = b""
            while len(received) < len(b"sent and more"):
                received += accepted.recv(100)
        assert received == b"sent and more"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
