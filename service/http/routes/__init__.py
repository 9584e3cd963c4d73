"""The endpoints: each one parses, calls the model, and returns a reply."""

from fastapi import APIRouter

from . import (
    decode,
    docs,
    encode,
    health,
    map_moves,
    model,
    neighbor_table,
    neighbors,
    page,
    profile,
    soft_targets,
)

ROUTERS: tuple[APIRouter, ...] = (
    encode.router,
    decode.router,
    neighbors.router,
    neighbor_table.router,
    soft_targets.router,
    map_moves.router,
    model.router,
    health.router,
    profile.router,
    docs.router,
    page.router,
)
HOT_ROUTES = (*encode.router.routes, *decode.router.routes)
