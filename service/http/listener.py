"""The socket that a server listens on, from its opening to the last connection it takes."""

import contextlib
import ctypes
import socket
import struct

from ..errors import AddressError

BACKLOG = 2048
# In which handshakes that are under way when new ones are refused come to their end: more than a round trip.
HANDSHAKE_S = 0.1

# Linux's number; Python's socket module does not name it.
_SO_ATTACH_FILTER = 26
# A classic BPF program over a TCP header (code, jump if true, jump if false, operand): load the flags, test
# for SYN, and drop the segment if it is set, else keep it whole.
_DROP_SYN = (
    (0x30, 0, 0, 13),
    (0x45, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


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


def refuse_new_connections(listener: socket.socket) -> None:
    """Let no connection begin any more, and keep those that wait to be accepted.

    Closing the socket alone would reset what a client has connected, and sent, since the last accept. Behind
    this filter of the kernel the queue only shrinks; a client that begins now hears nothing until the socket
    is closed, and then that nobody listens. Only Linux has the filter: elsewhere the moment stays.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    buffer = ctypes.create_string_buffer(program, len(program))
    argument = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(buffer))
    # A sandbox without filters is no reason to fail: it is as good as closing at once.
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on host {host!r}, port {port}: {error.strerror}; "
        "stop what uses the port, or choose another host or port"
    )
