"""The Kubernetes manifests, against Kubernetes' own schemas, which the validator brings along."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kohonen_tokenizer.service.http.settings import Settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
# The first with preStop's sleep for all, and the newest that the validator knows.
VERSIONS = ("1.34", kubernetes_validate.latest_version())


def resources(layer: str) -> Iterator[dict[str, Any]]:
    """The resources that a layer's kustomization names, each valid by itself."""
    for name in kustomization(layer)["resources"]:
        if not name.startswith(".."):
            yield from yaml.safe_load_all((KUBERNETES / layer / name).read_text())


def kustomization(layer: str) -> dict[str, Any]:
    """What says how the layer is put together."""
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / layer / "kustomization.yaml").read_text())
    return found


def of_kind(kind: str) -> dict[str, Any]:
    """The one resource of that kind."""
    (found,) = (resource for resource in resources("base") if resource["kind"] == kind)
    return found


def on_gpus(deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment with the patch of the GPU layer: a JSON patch, of which it uses two operations."""
    for patch in json.loads((KUBERNETES / "gpu" / "deployment.json").read_text()):
        *path, last = (part.replace("~1", "/") for part in patch["path"].split("/")[1:])
        place: Any = deployment
        for part in path:
            place = place[int(part) if isinstance(place, list) else part]
        assert patch["op"] == ("replace" if last in place else "add")
        place[last] = patch["value"]
    return deployment


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_have_no_field_that_kubernetes_does_not_know(version: str) -> None:
    checked = [*resources("base"), on_gpus(of_kind("Deployment"))]
    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)
    assert len(checked) == 7


def test_misspelt_field_is_found() -> None:
    deployment = of_kind("Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_every_file_is_used() -> None:
    used = set()
    for layer in ("base", "cpu", "gpu"):
        used.add(f"{layer}/kustomization.yaml")
        parts = kustomization(layer)
        used |= {f"{layer}/{name}" for name in parts["resources"] if not name.startswith("..")}
        used |= {f"{layer}/{patch['path']}" for patch in parts.get("patches", [])}
        used |= {f"{layer}/{name}" for made in parts.get("secretGenerator", []) for name in made["files"]}
    there = {str(path.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("*") if path.is_file()}
    assert used == there


def test_each_layer_tags_the_image_of_the_base_and_base_does_not() -> None:
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    # Kustomize renames from the base up: had base a name for the registry, no layer above would find its own.
    assert "images" not in kustomization("base")
    for layer in ("cpu", "gpu"):
        assert kustomization(layer)["resources"] == ["../base"]
        assert kustomization(layer)["images"] == [{"name": container["image"], "newTag": layer}]


def test_selectors_find_the_pods_and_names_what_they_name() -> None:
    deployment = of_kind("Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "tokenizer"
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    (made,) = kustomization("base")["secretGenerator"]
    assert volumes["settings"]["secret"]["secretName"] == made["name"]


def test_end_of_a_pod_leaves_time_to_drain() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = Settings.model_fields["drain_timeout_s"].default
    # Workers that outlast the drain are killed 5 s after it.
    assert pod["terminationGracePeriodSeconds"] > before_s + drain_s + 5
    probe = container["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    # No pod goes before its successor is ready.
    assert of_kind("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
