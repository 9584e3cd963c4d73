"""Workers that are started again where a bundle, or every bundle, is gone meanwhile."""

import os
import shutil
import signal

import httpx
import pytest


@pytest.fixture
def models(tmp_path, tiny_bundle):
    """A directory of two models, `old` and `new`."""
    for name in ("old", "new"):
        shutil.copytree(tiny_bundle, tmp_path / "models" / name / "7")
    return tmp_path / "models"


@pytest.fixture
def kill_workers(wait_until):
    """Kill every worker of a server at once."""

    def kill(server) -> None:
        for worker in server.workers:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.log.count("is gone (killed by SIGKILL)") == 2)

    return kill


@pytest.fixture
def start_crew(start_server, models, wait_until):
    """Start two workers of both models, and wait until both are up."""

    def start():
        server = start_server(models=models, workers=2, device="cpu")
        wait_until(lambda: "all 2 workers are up" in server.log)
        return server

    return start


def ask(server, path: str, **parameters: str) -> httpx.Response:
    """A GET on a connection of its own, which any worker may have."""
    return httpx.get(f"{server.url}{path}", params=parameters, timeout=30)


def sample(server, name: str) -> float:
    """The value of a metric, 0 where nobody can be asked."""
    try:
        lines = ask(server, "/metrics").text.splitlines()
    except httpx.TransportError:
        return 0.0
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_a_model_that_is_gone_does_not_take_the_others_with_it(
    start_crew, kill_workers, models, tiny_bundle, wait_until
):
    server = start_crew()
    assert sample(server, "kohonen_workers_configured") == 2
    assert sample(server, "kohonen_worker_restarts_total") == 0
    shutil.rmtree(models / "new")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "model new has no bundle any more" in server.log)
    assert ask(server, "/neighbors", token="0", model="new").status_code == 200
    kill_workers(server)
    wait_until(lambda: sample(server, 'kohonen_missing_models{model="new"}') == 2)
    wait_until(lambda: sample(server, 'kohonen_workers{ready="true"}') == 2)
    assert sample(server, "kohonen_worker_restarts_total") == 2
    assert ask(server, "/models").json()["missing"] == {"new": "7"}
    assert ask(server, "/readyz").status_code == 200
    assert ask(server, "/neighbors", token="0", model="old").status_code == 200
    for path, parameters in (("/neighbors", {"token": "0", "model": "new"}), ("/v2/models/new-encoder", {})):
        refused = ask(server, path, **parameters)
        assert refused.status_code == 503
        assert "model new could not be started again" in refused.text
    # What named no model got no answer from two, and gets none from the one that is left.
    assert ask(server, "/neighbors", token="0").status_code == 404
    shutil.copytree(tiny_bundle, models / "new" / "7")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sample(server, 'kohonen_missing_models{model="new"}') == 0)
    assert ask(server, "/neighbors", token="0", model="new").status_code == 200
    assert ask(server, "/models").json()["missing"] == {}
    assert server.stop() == 0


def test_clients_are_told_while_no_worker_comes_up(start_crew, kill_workers, models, wait_until):
    server = start_crew()
    shutil.move(models, models.with_name("away"))
    kill_workers(server)
    # From the first try that failed on; a client that connected before it is told too.
    assert ask(server, "/healthz").json()["error"]["code"] == "not_ready"
    wait_until(lambda: server.log.count("is started again in") >= 4)
    reply = ask(server, "/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_ready")
    assert reply.headers["retry-after"] == "1"
    shutil.move(models.with_name("away"), models)
    wait_until(lambda: ask(server, "/readyz").status_code == 200)
    assert server.stop() == 0
    assert "Traceback" not in server.log
