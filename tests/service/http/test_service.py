"""The models of a service over time: each is watched on its own, and one that is replaced is let go."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ModelNotFoundError, NotReadyError
from kohonen_tokenizer.service.http.models import LoadedModel
from kohonen_tokenizer.service.http.service import Service
from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

from .other_bundles import write_misnumbered
from .rigged_backend import RiggedBackend

TIMEOUT_S = 10


class HangingBackend(RiggedBackend):
    """The tiny model, which can be made to hang."""

    def __init__(self, model) -> None:
        self._model = model
        self.works = threading.Event()
        self.works.set()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.works.wait(TIMEOUT_S)
        return self._model.encode(pixels)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return self._model.decode(tokens)


@asynccontextmanager
async def running(
    models: list[LoadedModel], *, expected: dict[str, str] | None = None, **settings: object
) -> AsyncIterator[Service]:
    service = Service(Settings(bundle=Path("unused"), **settings), models=models, expected=expected)
    task = asyncio.create_task(service.run_models())
    async with asyncio.timeout(TIMEOUT_S):
        while not service.is_ready:
            await asyncio.sleep(0.01)
    yield service
    service.stop()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.to_thread(service.close)


def test_a_model_that_is_replaced_leaves_the_memory_without_the_garbage_collector(tiny_bundle):
    def load(version: str) -> LoadedModel:
        return LoadedModel(name="tiny", version=version, tokenizer=Tokenizer.load(tiny_bundle, num_threads=1))

    async def replace_twice() -> None:
        async with running([load("1")]) as service:
            kept = [weakref.ref(service.models.get("tiny").tokenizer)]
            for version in ("2", "3"):
                await service.serve(load(version))
                kept.append(weakref.ref(service.models.get("tiny").tokenizer))
            async with asyncio.timeout(TIMEOUT_S):
                while any(reference() is not None for reference in kept[:-1]):
                    await asyncio.sleep(0.01)
            assert kept[-1]() is not None

    gc.disable()
    try:
        asyncio.run(replace_twice())
    finally:
        gc.enable()


def test_a_model_that_hangs_does_not_make_another_look_dead(tiny_bundle, tiny_model):
    bundle = load_bundle(tiny_bundle)
    backend = HangingBackend(tiny_model)
    hanging, sound = (
        LoadedModel(name=name, version="1", tokenizer=Tokenizer(bundle, backend=backend))
        for name, backend in (("hanging", backend), ("sound", HangingBackend(tiny_model)))
    )

    async def hang() -> None:
        async with running([hanging, sound], canary_interval_s=0.1, canary_timeout_s=0.5) as service:
            backend.works.clear()
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                service.models.get("sound").canaries.require_alive()
                await asyncio.sleep(0.005)
            with pytest.raises(NotReadyError, match="model hanging last managed to encode"):
                service.require_ready()
            backend.works.set()

    asyncio.run(hang())


def test_what_a_process_before_this_one_served_may_be_missing(tiny_bundle, tmp_path, caplog):
    write_misnumbered(tiny_bundle, tmp_path / "wrong")
    expected = {"sound": "1", "wrong": "2", "gone": "3"}
    models = [
        LoadedModel(name=name, version=expected[name], tokenizer=Tokenizer.load(path, num_threads=1))
        for name, path in (("wrong", tmp_path / "wrong"), ("sound", tiny_bundle))
    ]

    async def run() -> None:
        async with running(models, expected=expected) as service:
            assert service.models.missing == {"wrong": "2", "gone": "3"}
            assert service.models.get("sound").version == "1"
            for name in ("wrong", "gone"):
                with pytest.raises(NotReadyError, match=f"model {name} could not be started again"):
                    service.models.get(name)
            with pytest.raises(ModelNotFoundError, match="several models are served"):
                service.models.get(None)
            again = LoadedModel(
                name="gone", version="4", tokenizer=Tokenizer.load(tiny_bundle, num_threads=1)
            )
            await service.serve(again)
            assert service.models.missing == {"wrong": "2"}

    asyncio.run(run())
    assert "the warm-up failed: model wrong is not served" in caplog.text


def test_a_process_that_can_serve_nothing_of_what_was_served_is_broken(tiny_bundle, tmp_path):
    write_misnumbered(tiny_bundle, tmp_path / "wrong")
    tokenizer = Tokenizer.load(tmp_path / "wrong", num_threads=1)
    model = LoadedModel(name="wrong", version="2", tokenizer=tokenizer)

    async def run() -> bool:
        service = Service(Settings(bundle=Path("unused")), models=[model], expected={"wrong": "2"})
        await service.run_models()
        await asyncio.to_thread(service.close)
        return service.is_broken

    assert asyncio.run(run())
