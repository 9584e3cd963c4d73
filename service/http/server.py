"""The server process: from settings to a listening service, and to its end."""

import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn

from ..errors import AddressError
from .app import create_app
from .logs import configure_logging
from .models import LoadedModel
from .service import Service
from .settings import Settings

logger = logging.getLogger(__name__)

BACKLOG = 2048
# New objects between two searches for cycles; Python's own is 700.
_GC_THRESHOLD = 20_000


def run(settings: Settings, *, models: Sequence[LoadedModel]) -> None:
    """Serve `models` until SIGTERM or SIGINT, then let requests in work finish, and return.

    If some do not finish within the time to drain, this ends the process instead, with status 0.

    Raises:
        AddressError: the address cannot be listened on.
    """
    with listen(settings.host, settings.port) as listener:
        configure_logging(settings.log_level, log_format=settings.log_format)
        service = Service(settings, models=models)
        app = create_app(service)
        server = _Server(
            uvicorn.Config(
                app,
                lifespan="on",
                ws="none",
                log_config=None,
                # ExchangeMiddleware writes the access log, with ids and times.
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=settings.drain_timeout_s,
            ),
            service=service,
        )
        for model in models:
            logger.info(
                "serving %s version %s (codebook %s, %s) at %s",
                model.name,
                model.version,
                model.tokenizer.codebook.sha256[:12],
                model.tokenizer.backend.description,
                settings.base_url,
            )
        _spare_the_garbage_collector()
        server.run(sockets=[listener])
        logger.info("stopped")
    if service.num_in_threads:
        # Work in a thread cannot be cancelled, and Python would wait for it, however long it takes. Whoever
        # asked for it was told already.
        logger.warning("threads that outlast the drain, and are dropped: %d", service.num_in_threads)
        logging.shutdown()
        os._exit(0)


def _spare_the_garbage_collector() -> None:
    """Have it look at young objects less often, and at those of the start never again.

    Requests make objects by the hundred and few cycles: at the default, a quarter of the event loop's time goes to
    the search for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `port` of `host`.

    Raises:
        AddressError: the port is taken, or no address of this machine has that name.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # Not socket.create_server, which leaves the protocol at 0: asyncio turns Nagle's algorithm off only
        # where the protocol says TCP, and with it on, each reply on a kept connection waits 40 ms for an ACK.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _address_error(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _address_error(host, port, error) from None
    return listener


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on host {host!r}, port {port}: {error.strerror}; "
        "stop what uses the port, or choose another host or port"
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the service when a signal stops it, and returns after that."""

    def __init__(self, config: uvicorn.Config, *, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stop()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, and the process dies of it: a stop that was asked
        # for and went well would look like a crash.
        signals = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
