"""Clients under way: each sends its next request as soon as it has the reply to the last one."""

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

# No reply of these small servers takes as long, so that a request without one hangs.
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Reply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ClosedLoop:
    """Threads that each send a request over and over on a connection of their own, until told to stop.

    Attributes:
        replies: the whole replies.
        broken: what became of requests that were sent and got none.
        num_refused: connections that nobody took.
    """

    def __init__(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        num_clients: int,
        keep_alive: bool = True,
        is_over: Callable[["ClosedLoop"], bool] = lambda loop: False,
    ) -> None:
        """Take the request, a POST to /encode, and what else than an exit ends the loop."""
        self.replies: list[Reply] = []
        self.broken: list[Exception] = []
        self.num_refused = 0
        self._address = urlsplit(url)
        self._content = content
        self._headers = dict(headers) if keep_alive else {**headers, "Connection": "close"}
        self._is_over = is_over
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(num_clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait until every client has ended."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT_S
        )
        while not self._stop.is_set() and not self._is_over(self):
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                self.num_refused += 1
                return
            except ConnectionError:
                continue  # it was killed with the server that held it, before anything was sent
            try:
                connection.request("POST", "/encode", body=self._content, headers=self._headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)
                connection.close()
            else:
                headers = {name.lower(): value for name, value in response.getheaders()}
                self.replies.append(Reply(response.status, headers, content))
        connection.close()
