"""The endpoints: each one parses, calls the model, and returns a reply."""

from fastapi import APIRouter

from . import decode, docs, encode, health, model, neighbors

ROUTERS: tuple[APIRouter, ...] = (
    encode.router,
    decode.router,
    neighbors.router,
    model.router,
    health.router,
    docs.router,
)
HOT_ROUTES = (*encode.router.routes, *decode.router.routes)
