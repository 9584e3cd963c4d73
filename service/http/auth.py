"""API keys: random secrets that clients send, of which the settings hold only hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ForbiddenError, ParameterError, UnauthorizedError

KeyScope = Literal["use", "admin"]

# Bytes of randomness in a key: as many as its hash has, so that a guess is hopeless and a slow hash needless.
_KEY_BYTES = 32


class ApiKey(BaseModel):
    """What the settings know of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Who has the key; for the log.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hexadecimal.")
    scopes: Annotated[tuple[KeyScope, ...], Field(min_length=1, max_length=2)] = Field(
        default=("use",), description="What the key is good for."
    )


def make_key(name: str, *, scopes: Sequence[KeyScope]) -> tuple[str, ApiKey]:
    """A new secret, and what the settings may know of it.

    Raises:
        ParameterError: the name is empty, long, or not plain.
    """
    key = secrets.token_urlsafe(_KEY_BYTES)
    try:
        return key, ApiKey(name=name, sha256=_sha256(key.encode()), scopes=tuple(scopes))
    except ValidationError:
        raise ParameterError(
            f"the name {name[:80]!r} of a key is not 1 to 64 letters, digits, and . _ -; choose another"
        ) from None


class Keyring:
    """The keys that the service knows. Without any, whoever reaches it may use it, but not be its admin."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.is_empty = not keys
        self._keys = tuple(keys)

    def check(self, headers: Iterable[tuple[bytes, bytes]], *, scope: KeyScope) -> str | None:
        """The name of the key in `headers`, ASGI's pairs with names in lower case; None if none is needed.

        Raises:
            UnauthorizedError: there is no key in the headers, or it is none of ours.
            ForbiddenError: the key lacks `scope`, or no key could have it.
        """
        if self.is_empty:
            if scope == "use":
                return None
            raise ForbiddenError(
                f"this call needs a key with scope {scope}, and the service has no keys; "
                "set api_keys (kohonen-tokenizer new-key makes one) and start it again"
            )
        sent = _sent_key(headers)
        if sent is None:
            raise UnauthorizedError(
                "the request has no API key; send it as Authorization: Bearer KEY, or as X-API-Key: KEY"
            )
        known = self._find(_sha256(sent))
        if known is None:
            raise UnauthorizedError("the API key is none of this service's; ask its operator for one")
        if scope not in known.scopes:
            raise ForbiddenError(
                f"the API key {known.name!r} has scope {' and '.join(known.scopes)}, and this call needs "
                f"{scope}; use another key"
            )
        return known.name

    def _find(self, sha256: str) -> ApiKey | None:
        # Every entry is compared, each in constant time: how long it takes tells nothing about the keys.
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found


def _sent_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key in the headers: a bearer token, else X-API-Key. A proxy may need Authorization for itself."""
    bearer, plain = None, None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            if scheme.lower() == b"bearer":
                bearer = credentials.strip()
        elif name == b"x-api-key":
            plain = value.strip()
    return bearer or plain or None


def _sha256(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
