"""What may come of any bytes whatever: an error of the tree in service/errors.py, or a value that fits.

Anything else is a finding: another exception, a message that is no line, a wrong shape, too much time or
memory.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from kohonen_tokenizer.service.errors import InputError, TokenizerError

MAX_MESSAGE_CHARS = 1024
MAX_CPU_S = 2.0
MAX_GROWTH_MIB = 256


def check_error(error: TokenizerError) -> None:
    """Return if the message of `error` is one line that may go to a terminal or a log."""
    _check_message(error.message)


def check_reply(reply: httpx.Response, *, may_time_out: bool = False) -> bool:
    """Whether `reply` is a success; else it is the client's fault, in words and by a code that are ours."""
    if reply.status_code == 200:
        return True
    if may_time_out and reply.status_code == 504:
        return False
    content = reply.json()["error"]
    if isinstance(content, str):  # as the Open Inference Protocol has it
        content = {"code": reply.headers["X-Error-Code"], "message": content}
    errors = [error for error in _below(InputError) if error.code == content["code"]]
    assert [error.status for error in errors] == [reply.status_code], reply.text
    _check_message(content["message"])
    return False


@contextmanager
def bounds() -> Iterator[None]:
    """Fail if what is done meanwhile takes more than its share of the processor or of memory."""
    # Of the process and not of the clock: others may be at work on this machine.
    started, peak = time.process_time(), _peak_mib()
    yield
    seconds, growth = time.process_time() - started, _peak_mib() - peak
    assert seconds <= MAX_CPU_S, f"it took {seconds:.1f} s of CPU"
    assert growth <= MAX_GROWTH_MIB, f"it took {growth:.0f} MiB of memory"


def _check_message(message: str) -> None:
    assert message
    assert message.isprintable(), repr(message)
    assert len(message) <= MAX_MESSAGE_CHARS, message


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _below(error: type[InputError]) -> Iterator[type[InputError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _below(kind)
