"""GET / and the files beside it: the page on which people try the tokens and their map."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..parameters import NoParameters

router = APIRouter(include_in_schema=False, dependencies=[NoParameters])

_SCRIPTS = (
    "api.js",
    "code-map.js",
    "code-panel.js",
    "intake.js",
    "keys.js",
    "map-view.js",
    "page.js",
    "token-grid.js",
)
_MEDIA_TYPES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "example.webp": "image/webp",
    **dict.fromkeys(_SCRIPTS, "text/javascript; charset=utf-8"),
}

# Nothing runs or loads that is not a file of this folder. Images are also made in the page (blob:), and the
# icon is in the HTML (data:).
_SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    etag: str


@cache
def _read(name: str) -> _File:
    """The file `name` of the page, which is package data, read once."""
    content = resources.files("kohonen_tokenizer.service.http").joinpath("page", name).read_bytes()
    return _File(content, etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _endpoint(name: str) -> Callable[[Request], Response]:
    # Not a coroutine: FastAPI runs it in a thread, where it may read a file.
    def get_file(request: Request) -> Response:
        file = _read(name)
        headers = {**_SECURITY_HEADERS, "ETag": file.etag, "Cache-Control": "no-cache"}
        known = request.headers.get("if-none-match", "").split(",")
        if file.etag in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(file.content, media_type=_MEDIA_TYPES[name], headers=headers)

    return get_file


for _name in _MEDIA_TYPES:
    # One route a file: no name from a client ever becomes a path.
    router.add_api_route("/" if _name == "index.html" else f"/page/{_name}", _endpoint(_name))
