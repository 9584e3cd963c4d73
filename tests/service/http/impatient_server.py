"""The real server, but it waits for a client for a second at most, and the system keeps little for one."""

import socket

from kohonen_tokenizer.cli import main
from kohonen_tokenizer.service.http import listener, protocol, server, slow_readers


def listen(host: str, port: int) -> socket.socket:
    """A socket whose connections leave what a client does not read to the server, after some KiB."""
    listening = listener.listen(host, port)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listening


server.listen = listen
protocol.HEADER_TIMEOUT_S = 1.0
slow_readers.SEND_TIMEOUT_S = 0.5
main(["serve"])
