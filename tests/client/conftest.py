"""The tiny model behind real servers, those of the service's own tests, and clients of them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kohonen_tokenizer_client import AsyncClient, Client

from ..service.conftest import random_images, tiny_bundle, tiny_files, tiny_model, two_level_bundle
from ..service.http.conftest import (
    ServerProcess,
    image_file,
    npy_file,
    serve_in_thread,
    server,
    start_server,
    tokenizer,
    wait_until,
)
from .blocking import Blocking

__all__ = [
    "image_file",
    "npy_file",
    "random_images",
    "serve_in_thread",
    "server",
    "start_server",
    "tiny_bundle",
    "tiny_files",
    "tiny_model",
    "tokenizer",
    "two_level_bundle",
    "wait_until",
]


def assert_same_arrays(
    found: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Fail unless both have the same names, and by each name the same values of the same type."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A client of `server` with small batches, so that a few images are several requests."""
    with Client(server.url, batch_size=8) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client | Blocking]]:
    """Make a client of a URL, blocking or asyncio's, both to be called as if blocking."""
    clients: list[Client | Blocking] = []

    def make(url: str, **settings: Any) -> Client | Blocking:
        if request.param == "sync":
            clients.append(Client(url, **settings))
        else:
            clients.append(Blocking(AsyncClient(url, **settings), runner=asyncio.Runner()))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
