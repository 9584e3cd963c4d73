"""The compose file and what stands beside it agree, as far as no container engine is needed to see it."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]


def test_every_variable_is_documented_with_the_default_that_it_has() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
    assert len(used) > 20
    example = (ROOT / ".env.example").read_text()
    documented = dict(re.findall(r"^(\w+)=(.*)$", example, flags=re.MULTILINE))
    assert documented == used
    assert not re.findall(r"\$\{\w+\}|\$\w+", COMPOSE), "a variable without a default"


def test_every_service_is_bounded_and_cannot_write_its_file_system() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "cpus", "pids_limit", "restart"} <= service.keys(), name
        # A tmpfs counts as memory.
        assert all("size=" in tmpfs for tmpfs in service.get("tmpfs", [])), name


def test_only_the_balancer_can_be_opened_to_the_network() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.pop("balancer") == ["${LISTEN:-127.0.0.1}:${PORT:-8000}:8080"]
    assert all(port.startswith("127.0.0.1:") for of_service in ports.values() for port in of_service)


def test_offline_job_reaches_no_network_and_writes_its_dataset_only() -> None:
    job = SERVICES["encode-job"]
    assert job["profiles"] == ["batch"]
    assert job["network_mode"] == "none"
    mounted = dict(volume.rsplit("}:", 1)[::-1] for volume in job["volumes"])
    assert {place for place in mounted if not place.endswith(":ro")} == {"/dest"}
    # What it is called with is what is mounted.
    assert {place.removesuffix(":ro") for place in mounted} == {"/bundle", *job["command"][1:]}
    assert job["command"] == ["encode", "/source", "/dest"]


def test_what_is_built_is_a_target_of_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    built = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert built == {"cpu", "gpu", "batch", "train"}
    assert built | {"torch"} <= targets


def test_files_that_are_mounted_exist() -> None:
    mounted = re.findall(r"[\s\"\-](\./(?:deploy|bundles)/[\w./-]+)", COMPOSE)
    assert len(mounted) >= 4
    for path in mounted:
        assert (ROOT / path).exists(), path
