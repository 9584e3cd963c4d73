"""Another version of a model, loaded while requests to it are under way."""

import asyncio
import json
import shutil
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest

from kohonen_tokenizer.service.errors import BundleNotFoundError, LoadBusyError, LoadError
from kohonen_tokenizer.service.http.auth import make_key
from kohonen_tokenizer.service.http.loads import LoadReport, Loads
from kohonen_tokenizer.service.runtime.catalog import Catalog
from kohonen_tokenizer.service.runtime.manifest import sha256_hex

from .closed_loop import ClosedLoop
from .other_bundles import write_misnumbered, write_reversed

LAST_TOKEN = 11


@pytest.fixture
def models(tmp_path, tiny_bundle) -> Path:
    """A model directory with one version of one model."""
    shutil.copytree(tiny_bundle, tmp_path / "models" / "colors" / "1")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def admin() -> tuple[dict[str, str], str]:
    """The header of a key for everything, and the setting that knows it."""
    secret, key = make_key("boss", scopes=["use", "admin"])
    return {"X-API-Key": secret}, json.dumps([key.model_dump()])


def versions(client: httpx.Client) -> dict[str, str]:
    return {model["name"]: model["version"] for model in client.get("/models").json()["models"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_swap_under_load_fails_no_request_and_mixes_no_versions(
    start_server, models, tiny_bundle, tiny_model, image_file, wait_until, admin, workers
):
    header, api_keys = admin
    server = start_server(models=models, workers=workers, device="cpu", api_keys=api_keys)
    wait_until(lambda: workers == 1 or "all 2 workers are up" in server.log)
    image = np.full((8, 8, 3), 90, dtype=np.uint8)
    first = tiny_model.encode(image[np.newaxis]).tolist()
    tokens = {"1": first, "2": (LAST_TOKEN - np.array(first)).tolist()}
    headers = {**header, "Content-Type": "image/png"}
    with (
        httpx.Client(base_url=server.url, headers=header, timeout=30) as client,
        ClosedLoop(server.url, content=image_file(image), headers=headers, num_clients=8) as clients,
    ):
        write_reversed(tiny_bundle, models / "colors" / "2")
        for version, previous in ((2, 1), ("1", "2"), ("2", "1")):
            num_replies = len(clients.replies)
            wait_until(lambda num_replies=num_replies: len(clients.replies) > num_replies + 50)
            reply = client.post("/models/colors/load", json={"version": version})
            assert reply.status_code == 200, reply.text
            loaded = reply.json()
            assert (loaded["version"], loaded["previous_version"]) == (str(version), str(previous))
            assert len(loaded["seconds"]) == workers
        shutil.copytree(tiny_bundle, models / "colors" / "3")
        (models / "colors" / "3" / "encoder.onnx").write_bytes(b"damaged")
        refused = client.post("/models/colors/load")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "load_failed")
        assert "encoder.onnx" in refused.json()["error"]["message"]
        # Whole, and still wrong.
        write_misnumbered(tiny_bundle, models / "colors" / "4")
        refused = client.post("/models/colors/load")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "load_failed")
        assert "the encoder gives tokens from 12 to 23" in refused.json()["error"]["message"]
        assert client.get("/models").json()["available"] == {"colors": ["1", "2", "3", "4"]}
        assert versions(client) == {"colors": "2"}
        # What is there and was never served: a new name.
        shutil.copytree(tiny_bundle, models / "others" / "7")
        added = client.post("/models/others/load", content=b"").json()
        assert (added["version"], added["previous_version"]) == ("7", None)
        wait_until(lambda: versions(client) == {"colors": "2", "others": "7"})
    # From then on a request must name its model.
    good = [reply for reply in clients.replies if reply.status == 200]
    assert {reply.status for reply in clients.replies} <= {200, 404}
    assert clients.broken == []
    assert {reply.headers["x-model-version"] for reply in good} == {"1", "2"}
    for reply in good:
        assert json.loads(reply.content)["tokens"] == tokens[reply.headers["x-model-version"]]
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_loads_what_is_new(start_server, tmp_path, tiny_bundle, wait_until, workers):
    bundle = tmp_path / "colors"
    shutil.copytree(tiny_bundle, bundle)
    server = start_server(bundle, workers=workers, device="cpu")
    wait_until(lambda: workers == 1 or "all 2 workers are up" in server.log)
    with httpx.Client(base_url=server.url) as client:
        before = client.get("/models").json()
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the newest version of each model is served" in server.log)
        shutil.rmtree(bundle)
        write_reversed(tiny_bundle, bundle)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "takes the place of" in server.log)
        after = client.get("/models").json()
        wait_until(lambda: client.get("/models").json() != before)
        (bundle / "manifest.json").write_text("{}")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "no version is there to be loaded" in server.log)
        assert client.get("/readyz").status_code == 200
    assert versions_of(after) == after["available"]
    assert server.stop() == 0


def versions_of(models: dict) -> dict[str, list[str]]:
    return {model["name"]: [model["version"]] for model in models["models"]}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"version": "9"}, 422, "load_failed"),
        ({"version": 9}, 422, "load_failed"),
        ({"version": True}, 422, "invalid_parameter"),
        ({"version": 2.0}, 422, "invalid_parameter"),
        ({"versions": "2"}, 422, "invalid_parameter"),
        (["2"], 400, "malformed_body"),
    ],
)
def test_what_cannot_be_loaded_is_refused(admin_client, body, status, code):
    reply = admin_client.post("/models/tiny-colors/load", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.fixture(scope="module")
def admin_client(start_server, tiny_bundle, admin):
    """A client of the tiny model that may do everything."""
    header, api_keys = admin
    server = start_server(tiny_bundle, api_keys=api_keys)
    with httpx.Client(base_url=server.url, headers=header) as client:
        yield client


def test_only_an_admin_loads(client, admin_client):
    assert client.post("/models/tiny-colors/load").json()["error"]["code"] == "forbidden"
    reply = admin_client.post("/models/nobody/load")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "load_failed")
    reply = admin_client.post("/models/tiny-colors/load")
    assert reply.json()["version"] == reply.json()["previous_version"]


class SlowLoads(Loads):
    """Waits until it may go on."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self.may_go_on = asyncio.Event()
        self.versions: dict[str, str] = {}
        self.names_missing: list[str] = []
        self.replaced: list[str] = []

    def served(self) -> dict[str, str]:
        return self.versions

    def missing(self) -> list[str]:
        return self.names_missing

    async def _replace(self, name: str, *, version: str) -> LoadReport:
        await self.may_go_on.wait()
        if version == "2":
            raise LoadError("version 2 is broken")
        self.replaced.append(name)
        return LoadReport(model=name, version=version, previous_version=None, codebook_hash="", seconds=[])


def test_one_version_is_loaded_at_a_time(models):
    async def load_twice() -> None:
        loads = SlowLoads(Catalog(bundle=None, models=models))
        first = asyncio.create_task(loads.load("colors", version=None))
        await asyncio.sleep(0)
        with pytest.raises(LoadBusyError, match="try again"):
            await loads.load("colors", version=None)
        loads.may_go_on.set()
        assert (await first).version == "1"

    asyncio.run(load_twice())


def test_a_broken_model_does_not_keep_others_from_being_loaded(models, caplog):
    shutil.copytree(models / "colors" / "1", models / "broken" / "2")

    async def load_newest() -> list[str]:
        loads = SlowLoads(Catalog(bundle=None, models=models))
        loads.may_go_on.set()
        await loads.load_newest()
        return loads.replaced

    assert asyncio.run(load_newest()) == ["colors"]
    assert "model broken stays as it is: version 2 is broken" in caplog.text


@pytest.mark.parametrize(("missing", "loaded"), [([], []), (["colors"], ["colors"])])
def test_a_hangup_tells_of_what_is_gone_and_loads_what_a_worker_misses(models, caplog, missing, loaded):
    async def load_newest() -> list[str]:
        loads = SlowLoads(Catalog(bundle=None, models=models))
        loads.may_go_on.set()
        loads.versions = {"colors": "1", "gone": "3"}
        loads.names_missing = missing
        await loads.load_newest()
        return loads.replaced

    assert asyncio.run(load_newest()) == loaded
    assert "model gone has no bundle any more that can be loaded: version 3 goes on" in caplog.text


def test_a_single_bundle_has_the_version_of_its_content(tiny_bundle, tmp_path):
    catalog = Catalog(bundle=tmp_path / "bundle", models=None)
    with pytest.raises(BundleNotFoundError, match="nothing is there"):
        catalog.versions()
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    ((name, (version,)),) = catalog.versions().items()
    assert sha256_hex((tiny_bundle / "manifest.json").read_bytes()).startswith(version)
    assert catalog.find(name) == catalog.find(name, version=version) == (version, tmp_path / "bundle")
    with pytest.raises(
        BundleNotFoundError, match=f"holds {name} version {version} now, and not {name} version 1"
    ):
        catalog.find(name, version="1")
