"""Content negotiation, against the rules and the example of RFC 9110, section 12.5.1."""

import pytest

from kohonen_tokenizer.service.errors import NotAcceptableError
from kohonen_tokenizer.service.http.media import media_type_of, negotiate

OFFERS = ("image/png", "application/json", "application/x-npy")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("application/*", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("APPLICATION/JSON", "application/json"),
        ("application/json;charset=utf-8", "application/json"),
        ("application/json;q=0.5, application/x-npy;q=0.6", "application/x-npy"),
        ("application/json, image/png", "image/png"),
        ("application/json;q=0.9,*/*;q=0.1", "application/json"),
        ("*/*;q=0.9, image/png;q=0.1", "application/json"),
        ("image/*;q=0, */*", "application/json"),
        ("text/html,,application/json", "application/json"),
        (" application/json ; q = 0.5 ", "application/json"),
        ("junk, application/json", "application/json"),
    ],
)
def test_the_client_gets_what_it_prefers(accept, chosen):
    assert negotiate(accept, offers=OFFERS) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "*",
        "junk",
        "*/json",
        "image/png;q=0",
        "image/png;q=2",
        "image/png;q=-1",
        "image/png;q=nan",
        "*/*;q=x",
    ],
)
def test_a_client_that_accepts_nothing_of_ours_is_told_what_there_is(accept):
    with pytest.raises(NotAcceptableError, match="application/x-npy"):
        negotiate(accept, offers=OFFERS)


def test_the_example_of_the_rfc():
    accept = (
        "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"
    )
    # Without parameters on our side, text/plain is worth 0.7 or more, text/html 0.3 and image/jpeg 0.5.
    assert negotiate(accept, offers=("text/html", "image/jpeg")) == "image/jpeg"
    assert negotiate(accept, offers=("image/jpeg", "text/plain")) == "text/plain"


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [("image/jpeg", "image/jpeg"), (" Image/JPEG ; a=b", "image/jpeg"), ("", ""), (";", "")],
)
def test_the_media_type_of_a_content_type(content_type, media_type):
    assert media_type_of(content_type) == media_type


def test_a_long_accept_is_refused_before_it_is_read():
    fits = "application/json" + "," * (4096 - len("application/json"))
    assert negotiate(fits, offers=OFFERS) == "application/json"
    with pytest.raises(NotAcceptableError, match="4097 characters, the limit is 4096"):
        negotiate(fits + ",", offers=OFFERS)
