"""Client of the Kohonen tokenizer's HTTP service: images to grids of map-ordered tokens and back."""

from .async_client import AsyncClient
from .client import Client
from .errors import (
    ClientError,
    CodebookMismatchError,
    DeadlineError,
    InputError,
    NotFoundError,
    ReplyError,
    ServiceError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)
from .records import Codebook, Level, Model, Neighbor
from .served_level import ServedLevel

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Codebook",
    "CodebookMismatchError",
    "DeadlineError",
    "InputError",
    "Level",
    "Model",
    "Neighbor",
    "NotFoundError",
    "ReplyError",
    "ServedLevel",
    "ServiceError",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "__version__",
]
