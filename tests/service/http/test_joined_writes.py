"""Replies leave in one piece, and nothing written is lost when a connection closes."""

import asyncio

from kohonen_tokenizer.service.http.joined_writes import JoinedWrites


class RecordingTransport(asyncio.Transport):
    """Keeps what reaches it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    def writelines(self, list_of_data) -> None:
        self.calls.append(list(list_of_data))

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return "close" in self.calls


def test_what_is_written_in_a_turn_leaves_in_one_call():
    async def write() -> list[object]:
        transport = RecordingTransport()
        joined = JoinedWrites(transport, loop=asyncio.get_running_loop(), on_close=lambda: None)
        joined.write(b"head")
        joined.write(b"body")
        assert transport.calls == []
        await asyncio.sleep(0)
        joined.write(b"next")
        await asyncio.sleep(0)
        return transport.calls

    assert asyncio.run(write()) == [[b"head", b"body"], [b"next"]]


def test_a_close_comes_after_what_was_written():
    async def write() -> list[object]:
        transport = RecordingTransport()
        joined = JoinedWrites(
            transport, loop=asyncio.get_running_loop(), on_close=lambda: transport.calls.append("told")
        )
        joined.write(b"last")
        joined.close()
        assert joined.is_closing()
        await asyncio.sleep(0)
        return transport.calls

    assert asyncio.run(write()) == [[b"last"], "close", "told"]


def test_what_is_written_to_a_client_that_left_is_dropped():
    async def write() -> list[object]:
        transport = RecordingTransport()
        joined = JoinedWrites(transport, loop=asyncio.get_running_loop(), on_close=lambda: None)
        joined.write(b"late")
        transport.close()
        await asyncio.sleep(0)
        return transport.calls

    assert asyncio.run(write()) == ["close"]
