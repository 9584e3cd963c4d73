"""API keys: who may do what, and what a key looks like."""

import hashlib
import hmac

import pytest

from kohonen_tokenizer.service.errors import ForbiddenError, ParameterError, UnauthorizedError
from kohonen_tokenizer.service.http.auth import Keyring, make_key


@pytest.fixture(scope="module")
def keys():
    """Two keys, of a user and of an admin: secrets and entries, by name."""
    return {"user": make_key("user", scopes=("use",)), "admin": make_key("admin", scopes=("use", "admin"))}


@pytest.fixture(scope="module")
def keyring(keys):
    return Keyring([entry for _, entry in keys.values()])


def test_a_new_key_is_long_and_the_settings_know_its_hash(keys):
    secret, entry = keys["user"]
    assert len(secret) >= 43
    assert entry.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret != make_key("user", scopes=("use",))[0]


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", 'a"\n'])
def test_a_name_must_be_plain(name):
    with pytest.raises(ParameterError, match="choose another"):
        make_key(name, scopes=("use",))


def bearer(secret, *, scheme="Bearer"):
    return [(b"host", b"x"), (b"authorization", f"{scheme} {secret}".encode())]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_may_be_a_bearer_token(keys, keyring, scheme):
    assert keyring.check(bearer(keys["user"][0], scheme=scheme), scope="use") == "user"
    assert keyring.check(bearer(keys["admin"][0], scheme=scheme), scope="admin") == "admin"


def test_a_key_may_stand_alone_beside_a_proxys_own(keys, keyring):
    headers = [(b"authorization", b"Basic YTpi"), (b"x-api-key", keys["user"][0].encode())]
    assert keyring.check(headers, scope="use") == "user"


@pytest.mark.parametrize(
    "headers",
    [[], [(b"authorization", b"Bearer ")], [(b"authorization", b"Basic YTpi")], [(b"x-api-key", b"")]],
)
def test_no_key_is_refused(keyring, headers):
    with pytest.raises(UnauthorizedError, match="has no API key; send it as"):
        keyring.check(headers, scope="use")


def test_an_unknown_key_is_refused_and_not_repeated(keys, keyring):
    for wrong in (keys["user"][0][:-1], keys["user"][1].sha256, "é"):
        with pytest.raises(UnauthorizedError, match="none of this service's") as error:
            keyring.check(bearer(wrong), scope="use")
        assert wrong not in error.value.message


def test_a_key_without_the_scope_is_refused(keys, keyring):
    with pytest.raises(ForbiddenError, match="'user' has scope use, and this call needs admin"):
        keyring.check(bearer(keys["user"][0]), scope="admin")


def test_without_keys_all_may_use_and_none_is_admin(keys):
    keyring = Keyring([])
    assert keyring.check([], scope="use") is None
    for headers in ([], bearer(keys["admin"][0])):
        with pytest.raises(ForbiddenError, match="the service has no keys; set api_keys"):
            keyring.check(headers, scope="admin")


def test_an_admin_may_not_use_without_that_scope():
    secret, entry = make_key("operator", scopes=("admin",))
    keyring = Keyring([entry])
    assert keyring.check(bearer(secret), scope="admin") == "operator"
    with pytest.raises(ForbiddenError, match="'operator' has scope admin, and this call needs use"):
        keyring.check(bearer(secret), scope="use")


@pytest.mark.parametrize("place", ["first", "last", "nowhere"])
def test_every_entry_is_compared_in_constant_time(monkeypatch, place):
    made = [make_key(f"client-{number}", scopes=("use",)) for number in range(5)]
    sent = {"first": made[0][0], "last": made[-1][0], "nowhere": "a key of another service"}[place]
    compared = []
    compare = hmac.compare_digest

    def spy(known, sent):
        compared.append((known, sent))
        return compare(known, sent)

    keyring = Keyring([entry for _, entry in made])
    monkeypatch.setattr("hmac.compare_digest", spy)
    if place == "nowhere":
        with pytest.raises(UnauthorizedError):
            keyring.check(bearer(sent), scope="use")
    else:
        keyring.check(bearer(sent), scope="use")
    # Hashes, all of one length: a comparison in constant time tells their length.
    digest = hashlib.sha256(sent.encode()).hexdigest()
    assert compared == [(entry.sha256, digest) for _, entry in made]
