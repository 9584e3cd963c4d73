"""How long is waited and how often tried, without a socket: the steps of a call, done by hand."""

import email.utils
import pickle
import time

import pytest

from kohonen_tokenizer_client import Client, ClientError, UnavailableError
from kohonen_tokenizer_client.errors import reply_error
from kohonen_tokenizer_client.exchange import Call, Patience, exchange
from kohonen_tokenizer_client.transport import Lost, Reply, Send, Wait

PATIENCE = Patience(timeout_s=100.0, request_timeout_s=30.0, max_retries=4)
LOST = Lost(reason="gone")


def refused(retry_after=None):
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Reply(status=503, headers=headers, content=b"")


def steps_of(*outcomes, patience=PATIENCE):
    """The steps that a call takes when its requests have these outcomes."""
    call = Call(path="/models", accept="application/json", read=lambda reply: reply.content)
    steps = exchange(call, headers={}, patience=patience)
    taken = [next(steps)]
    for outcome in outcomes:
        taken.append(steps.send(outcome))
        if isinstance(taken[-1], Wait):
            taken.append(steps.send(None))
    return taken


def test_waits_double_and_are_never_the_same():
    waits = [[step.seconds for step in steps_of(*[LOST] * 4) if isinstance(step, Wait)] for _ in range(20)]
    for tries in waits:
        for number, seconds in enumerate(tries):
            assert 0.05 * 2**number <= seconds <= 0.1 * 2**number
    assert len({tries[0] for tries in waits}) == 20


def test_a_wait_is_never_longer_than_the_longest():
    patience = Patience(timeout_s=1e6, request_timeout_s=30.0, max_retries=100)
    waits = [step.seconds for step in steps_of(*[LOST] * 30, patience=patience) if isinstance(step, Wait)]
    assert max(waits) <= 8.0


def test_what_the_service_asks_for_is_the_least():
    for _ in range(20):
        _, wait, _ = steps_of(refused("7"))
        assert 7.0 <= wait.seconds <= 7.0 * 1.25


def test_a_retry_after_may_be_a_date():
    _, wait, _ = steps_of(refused(email.utils.formatdate(time.time() + 20, usegmt=True)))
    assert 18.0 <= wait.seconds <= 25.0


@pytest.mark.parametrize("nonsense", ["", "soon", "nan", "inf", "-3", "1e999"])
def test_a_retry_after_of_nonsense_asks_for_nothing(nonsense):
    _, wait, _ = steps_of(refused(nonsense))
    assert wait.seconds <= 0.1


def test_refusals_with_a_retry_after_are_no_failures():
    assert len(steps_of(*[refused("0.01")] * 10)) == 21
    with pytest.raises(UnavailableError):
        steps_of(*[refused()] * 5)


def test_no_step_takes_more_than_what_is_left():
    for step in steps_of(LOST, LOST, patience=Patience(timeout_s=3.0, request_timeout_s=30.0, max_retries=4)):
        if isinstance(step, Send):
            assert step.timeout_s <= 3.0
            assert float(step.headers["X-Timeout-S"]) <= 3.0


def test_the_service_answers_before_the_client_hangs_up():
    (send,) = steps_of()
    assert send.headers["X-Timeout-S"] == "30.000"
    assert send.timeout_s > 30.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "http://"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"request_timeout_s": float("inf")}, "request_timeout_s"),
        ({"max_retries": -1}, "max_retries"),
        ({"batch_size": 0}, "batch_size"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_settings_outside_their_limits_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Client(**{"base_url": "http://localhost", **settings})


def test_an_error_survives_a_process():
    content = b'{"error": {"code": "token_out_of_range", "message": "m", "request_id": "r", "index": 2}}'
    error = reply_error(Reply(status=422, headers={}, content=content), request_id="own")
    error.place(first=40, count=8)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ClientError)
    assert type(again) is type(error)
    assert str(again) == "item 42: m (token_out_of_range, request r)"
    assert vars(again) == vars(error)
