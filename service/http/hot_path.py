"""The short way for the calls that come by the thousand.

Routing, solving dependencies and exit stacks cost more CPU than all else that is done for a small image, but
for the model. So these calls go from the server straight to their endpoints, which need nothing of that;
FastAPI has the same endpoints, documents them, and gets every other call.
"""

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from ..errors import TokenizerError
from .error_replies import error_reply


class HotPath:
    """`app`, but POST requests to `routes` go straight to their endpoints."""

    def __init__(self, app: FastAPI, *, routes: Iterable[BaseRoute]) -> None:
        """Take POST routes of `app` whose endpoints take the request, and nothing else."""
        self._app = app
        self._routes = {route.path: route for route in routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._routes:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["route"] = route = self._routes[scope["path"]]
        request = Request(scope, receive)
        try:
            response: Response = await route.endpoint(request)
        except TokenizerError as error:
            response = error_reply(request, error)
        await response(scope, receive, send)
