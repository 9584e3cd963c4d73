"""Settings: the command line, then the environment, then the defaults; nothing unknown, nothing absurd."""

import os
from pathlib import Path

import pytest

from kohonen_tokenizer.service.errors import SettingsError
from kohonen_tokenizer.service.http.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in list(os.environ):
        if name.startswith("KOHONEN_"):
            monkeypatch.delenv(name)


def test_the_environment_counts_less_than_the_command_line(monkeypatch):
    monkeypatch.setenv("KOHONEN_BUNDLE", "from-environment")
    monkeypatch.setenv("KOHONEN_PORT", "9000")
    monkeypatch.setenv("KOHONEN_MAX_IMAGES", "7")
    settings = read_settings({"port": 9001})
    assert (settings.bundle, settings.port, settings.max_images) == (Path("from-environment"), 9001, 7)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", "http"),
        ("host", ""),
        ("device", "tpu"),
        ("num_threads", 0),
        ("num_workers", 0),
        ("max_body_bytes", 0),
        ("max_images", 0),
        ("max_image_pixels", 0),
        ("max_request_pixels", 0),
        ("max_neighbors", 0),
        ("body_timeout_s", 0),
        ("max_neighbor_tokens", 0),
        ("max_pending_requests", 0),
        ("drain_timeout_s", 0),
        ("log_level", "loud"),
    ],
)
def test_a_value_outside_its_limits_is_named_with_its_setting(name, value):
    with pytest.raises(SettingsError) as error:
        read_settings({"bundle": "b", name: value})
    assert f"setting {name} (KOHONEN_{name.upper()}) is {value!r}" in error.value.message
    assert "\n" not in error.value.message


def test_a_missing_bundle_is_named():
    with pytest.raises(SettingsError, match=r"setting bundle \(KOHONEN_BUNDLE\): Field required"):
        read_settings({})


@pytest.mark.parametrize("name", ["KOHONEN_MAX_IMAGE", "kohonen_ports"])
def test_an_unknown_variable_is_refused_by_name(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} in the environment is no setting"):
        read_settings({"bundle": "b"})


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(SettingsError, match="ports"):
        read_settings({"bundle": "b", "ports": 1})


def test_every_setting_says_what_it_means_and_every_number_is_bounded():
    for name, field in Settings.model_fields.items():
        assert field.description, name
    schema = Settings.model_json_schema()["properties"]
    numbers = [
        variant
        for field in schema.values()
        for variant in field.get("anyOf", [field])
        if variant.get("type") == "integer"
    ]
    assert len(numbers) == 12
    assert all("minimum" in number and "maximum" in number for number in numbers)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("example.org", "http://example.org:8000"),
    ],
)
def test_the_url_is_one_that_a_client_can_use(host, url):
    assert read_settings({"bundle": "b", "host": host}).base_url == url
