"""The dashboard and the alerts ask for metrics that the service has."""

import json
import re
from pathlib import Path

import yaml

from kohonen_tokenizer.service.http.metrics import Metrics

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/kohonen-tokenizer.json").read_text())
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS += [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


def test_every_metric_asked_for_is_one_of_the_service() -> None:
    families = dict(re.findall(r"^# TYPE (\w+) (\w+)$", Metrics().expose().decode(), flags=re.MULTILINE))
    asked = {
        name for expression in EXPRESSIONS for name in re.findall(r"(?:kohonen|process)_\w+", expression)
    }
    assert len(asked) > 15
    parts = {
        f"{name}_{part}"
        for name, kind in families.items()
        if kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    assert asked <= families.keys() | parts, asked - families.keys() - parts


def test_dashboard_shows_what_an_operator_looks_for() -> None:
    asked = " ".join(EXPRESSIONS)
    for metric in (
        "requests_total",
        "stage_seconds",
        "batch_size",
        "queue_images",
        "rejected_total",
        "workers",
    ):
        assert f"kohonen_{metric}" in asked


def test_panels_have_places_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    source = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (uid,) = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert uid == source["datasources"][0]["uid"]
