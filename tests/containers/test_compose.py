"""The services of the compose file, together: what holds while replicas die and restart.

make test-containers runs it: it builds images, and needs a container engine.
"""

import io
import json
import subprocess
import time

import httpx
import numpy as np
import pytest

from kohonen_tokenizer import Tokenizer, __version__

from .load import load
from .stack import ENGINE, PROJECT, ROOT, Stack, inspect, run, wait_until

pytestmark = pytest.mark.containers

BUNDLE = ROOT / "bundles" / "cifar10-ksom-512"
EXAMPLE = (ROOT / "docs" / "example.jpg").read_bytes()
# Long enough for hundreds of requests before and after what happens.
SETTLE_S = 3.0


def test_image_says_what_it_is_and_holds_no_tools(image: str) -> None:
    found = inspect(image)
    config = found["Config"]
    print(f"\nimage {image}: {found['Size'] / 1e6:.0f} MB")
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert "/opt/is_ready.py" in str(found.get("Healthcheck") or config["Healthcheck"])
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    modules, commands = ("torch", "hatchling", "pytest", "uv"), ("gcc", "cc", "make", "uv", "curl")
    look = f"import importlib.util, shutil; print(*map(importlib.util.find_spec, {modules}), "
    look += f"*map(shutil.which, {commands}))"
    there = run(*ENGINE, "run", "--rm", "--entrypoint", "python", image, "-c", look).split()
    assert there == ["None"] * 9


def test_image_without_torch_names_the_one_that_has_it(image: str) -> None:
    serve = [*ENGINE, "run", "--rm", image, "serve", "--backend", "torchscript"]
    refused = subprocess.run(serve, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "docker build --target torch ." in refused.stderr


def test_container_is_not_root_and_can_write_nothing_but_tmp(stack: Stack) -> None:
    (replica, _) = stack.replicas
    status = run(*ENGINE, "exec", replica, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    for folder in ("/", "/opt/package", "/opt/tokenizer", "/bundle", "/run/secrets", "/etc"):
        touch = [*ENGINE, "exec", replica, "touch", f"{folder}/written"]
        assert subprocess.run(touch, capture_output=True, check=False).returncode != 0, folder
    run(*ENGINE, "exec", replica, "touch", "/tmp/written")


def test_container_is_bounded(stack: Stack) -> None:
    for replica in stack.replicas:
        host = inspect(replica)["HostConfig"]
        assert host["Memory"] == 2**30
        assert host["NanoCpus"] == 10**9
        assert host["PidsLimit"] == 512
        assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_images_and_tokens_through_the_balancer_are_those_of_the_bundle(stack: Stack) -> None:
    tokenizer = Tokenizer.load(BUNDLE)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for _ in range(8):  # either replica
        tokens = _post_array(stack, "/encode", images)
        np.testing.assert_array_equal(tokens, tokenizer.encode(images))
        np.testing.assert_array_equal(_post_array(stack, "/decode", tokens), tokenizer.decode(tokens))


def test_calls_about_one_replica_do_not_pass_the_balancer(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url) as client:
        assert client.get("/metrics").status_code == 404
        assert client.post("/profile").status_code == 404
        assert client.post("/models/cifar10-ksom-512/load").status_code == 404
        assert client.get("/models").status_code == 200


def test_killed_replica_loses_no_request_that_is_tried_again(stack: Stack) -> None:
    (replica, other) = stack.replicas
    with load(stack.url, body=EXAMPLE) as record:
        time.sleep(SETTLE_S)
        run(*ENGINE, "kill", "--signal", "KILL", replica)
        time.sleep(SETTLE_S)
        before = record.first["200"]
        time.sleep(SETTLE_S)
        assert record.first["200"] > before, "the other replica answers no requests"
        run(*ENGINE, "start", replica)
        to_ready_s = wait_until(lambda: stack.is_ready(replica))
        time.sleep(SETTLE_S)
    print(f"\na replica killed, and started again (ready after {to_ready_s:.1f} s): {record}")
    assert record.first.total() > 100
    assert record.num_lost_after_retry == 0
    assert stack.is_ready(other)


def test_rolling_restart_loses_no_request(stack: Stack) -> None:
    started = {replica: inspect(replica)["State"]["StartedAt"] for replica in stack.replicas}
    environment = {"ENGINE": " ".join(ENGINE), "COMPOSE_PROJECT_NAME": PROJECT}
    with load(stack.url, body=EXAMPLE) as record:
        time.sleep(SETTLE_S)
        run("deploy/rolling-restart", environment=environment)
        time.sleep(SETTLE_S)
    print(f"\nboth replicas restarted, one after the other: {record}")
    assert record.first.total() > 100
    assert record.num_lost == 0
    for replica, before in started.items():
        assert inspect(replica)["State"]["StartedAt"] != before


def test_replicas_give_way_to_new_ones_and_lose_no_request(stack: Stack) -> None:
    old = stack.replicas
    with load(stack.url, body=EXAMPLE) as record:
        time.sleep(SETTLE_S)
        stack.up("--no-deps", "--no-recreate", "--scale", "tokenizer=4", "tokenizer")
        wait_until(lambda: all(stack.is_ready(replica) for replica in stack.replicas))
        for replica in old:
            run(*ENGINE, "stop", "-t", "20", replica)
            assert inspect(replica)["State"]["ExitCode"] == 0
            run(*ENGINE, "rm", replica)
        time.sleep(SETTLE_S)
    print(f"\nboth replicas exchanged for new ones: {record}")
    assert record.num_lost == 0
    assert len(stack.replicas) == 2
    assert not set(old) & set(stack.replicas)


def test_replica_ends_by_itself_when_it_is_told_to_stop(stack: Stack) -> None:
    (replica, _) = stack.replicas
    run(*ENGINE, "stop", "-t", "20", replica)
    assert inspect(replica)["State"]["ExitCode"] == 0
    run(*ENGINE, "start", replica)
    wait_until(lambda: stack.is_ready(replica))


def test_without_any_replica_clients_are_told_to_wait(stack: Stack) -> None:
    run(*ENGINE, "kill", "--signal", "KILL", *stack.replicas)
    reply = httpx.post(f"{stack.url}/encode", content=EXAMPLE, headers={"Content-Type": "image/jpeg"})
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json()["error"]["code"] == "no_replica"
    run(*ENGINE, "start", *stack.replicas)
    wait_until(lambda: all(stack.is_ready(replica) for replica in stack.replicas))
    wait_until(lambda: httpx.get(f"{stack.url}/readyz").status_code == 200)


def test_prometheus_scrapes_each_replica_and_can_draw_the_dashboard(stack: Stack) -> None:
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)

    def is_counted() -> bool:
        _post_array(stack, "/decode", _post_array(stack, "/encode", images))
        counting = stack.query("sum by (operation) (rate(kohonen_images_total[1m])) > 0")
        return len(counting) == 2

    wait_until(lambda: [series["value"][1] for series in stack.query('sum(up{job="tokenizer"})')] == ["2"])
    wait_until(is_counted)
    dashboard = json.loads((ROOT / "deploy/monitoring/grafana/dashboards/kohonen-tokenizer.json").read_text())
    drawn = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            if stack.query(expression):
                drawn.add(panel["title"])
    # Nothing was refused and nothing failed.
    assert {panel["title"] for panel in dashboard["panels"]} - drawn <= {"Rejections", "Errors"}


def _post_array(stack: Stack, path: str, array: np.ndarray) -> np.ndarray:
    body, npy = io.BytesIO(), "application/x-npy"
    np.save(body, array)
    headers = {"Content-Type": npy, "Accept": npy}
    reply = httpx.post(f"{stack.url}{path}", content=body.getvalue(), headers=headers)
    assert reply.status_code == 200, reply.text
    return np.load(io.BytesIO(reply.content))
