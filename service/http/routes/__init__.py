"""The endpoints: each one parses, calls the model, and returns a reply."""

from fastapi import APIRouter

from . import (
    admin,
    decode,
    docs,
    encode,
    health,
    kserve,
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
    admin.router,
    health.router,
    kserve.router,
    profile.router,
    docs.router,
    page.router,
)
HOT_ROUTES = (*encode.router.routes, *decode.router.routes)
