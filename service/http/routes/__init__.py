"""The endpoints: each one parses, calls the model, and returns a reply."""

from fastapi import APIRouter

from . import codebook, decode, docs, encode, health, models, neighbors

ROUTERS: tuple[APIRouter, ...] = (
    encode.router,
    decode.router,
    neighbors.router,
    codebook.router,
    models.router,
    health.router,
    docs.router,
)
