"""How connections are dealt out to workers."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from kohonen_tokenizer.service.http.connections import Dealer, receive_connections, send_connection
from kohonen_tokenizer.service.http.listener import listen


class Worker:
    """Keeps what it is given."""

    def __init__(self, *, num_connections: int = 0, takes_connections: bool = True, fails: bool = False):
        self.num_connections = num_connections
        self.takes_connections = takes_connections
        self.fails = fails

    def give(self, connection: socket.socket) -> None:
        if self.fails:
            raise BrokenPipeError
        self.num_connections += 1


def deal(num_clients: int, workers: list[Worker], *, then: Callable[[Dealer], None] = lambda dealer: None):
    """Deal `num_clients` connections out to `workers`."""

    async def run() -> None:
        with listen("127.0.0.1", 0) as listener:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(num_clients)]
            dealer = Dealer(listener, takers=workers)
            dealer.resume()
            await asyncio.sleep(0.05)
            then(dealer)
            await asyncio.sleep(0.05)
            dealer.close()
            for client in clients:
                client.close()

    asyncio.run(run())
    return [worker.num_connections for worker in workers]


def test_a_burst_is_spread_evenly():
    assert deal(64, [Worker(), Worker(), Worker(), Worker()]) == [16, 16, 16, 16]


def test_who_has_fewest_is_served_first():
    assert deal(3, [Worker(num_connections=5), Worker(num_connections=3)]) == [5 + 1, 3 + 2]


def test_who_takes_none_or_fails_gets_none():
    assert deal(4, [Worker(takes_connections=False), Worker(fails=True), Worker()]) == [0, 0, 4]


def test_connections_wait_until_somebody_takes_them():
    worker = Worker(takes_connections=False)

    def begin(dealer: Dealer) -> None:
        assert worker.num_connections == 0
        worker.takes_connections = True
        dealer.resume()

    assert deal(3, [worker], then=begin) == [3]


def test_a_connection_arrives_with_all_that_was_sent():
    ours, theirs = socket.socketpair()
    client, accepted = socket.socketpair()
    with ours, theirs, client:
        theirs.setblocking(False)
        assert receive_connections(theirs) == []
        with accepted:
            client.sendall(b"hello")
            send_connection(accepted, over=ours)
        (received,) = receive_connections(theirs)
        with received:
            assert received.recv(100) == b"hello"
            received.sendall(b"good day")
        assert client.recv(100) == b"good day"
        ours.close()
        with pytest.raises(EOFError):
            receive_connections(theirs)
