"""Settings: the command line, then the environment, a file, the defaults; nothing unknown, nothing absurd."""

import json
import os
from pathlib import Path

import pytest

from kohonen_tokenizer.service.errors import SettingsError
from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.http.settings_sources import read_settings, read_settings_and_origins
from kohonen_tokenizer.service.http.settings_toml import write_toml


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in list(os.environ):
        if name.startswith("KOHONEN_"):
            monkeypatch.delenv(name)


def write(path, text):
    path.write_text(text)
    return path


def test_a_flag_counts_more_than_the_environment_and_that_more_than_the_file(monkeypatch, tmp_path):
    config = write(
        tmp_path / "c.toml",
        'bundle = "file"\nport = 1\nmax_images = 1\nlog_level = "debug"\ncors_origins = ["*"]',
    )
    monkeypatch.setenv("KOHONEN_PORT", "2")
    monkeypatch.setenv("kohonen_max_images", "2")
    settings, origins = read_settings_and_origins({"port": "3"}, config=config)
    assert (settings.bundle, settings.port, settings.max_images) == (Path("file"), 3, 2)
    assert (settings.log_level, settings.cors_origins, settings.host) == ("debug", ("*",), "127.0.0.1")
    assert origins["bundle"] == origins["log_level"] == f"in {config}"
    assert (origins["port"], origins["max_images"]) == ("--port", "KOHONEN_MAX_IMAGES")
    assert origins["host"] == origins["api_keys"] == "default"
    assert origins.keys() == Settings.model_fields.keys()


def test_the_file_may_be_named_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KOHONEN_CONFIG", str(write(tmp_path / "one.toml", 'bundle = "one"')))
    assert read_settings({}).bundle == Path("one")
    other = write(tmp_path / "other.toml", 'bundle = "other"')
    assert read_settings({}, config=other).bundle == Path("other")


def test_settings_that_are_made_in_code_know_no_environment(monkeypatch):
    monkeypatch.setenv("KOHONEN_PORT", "9000")
    assert Settings(bundle=Path("b")).port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "65536"),
        ("port", "http"),
        ("host", ""),
        ("device", "tpu"),
        ("num_threads", "0"),
        ("max_body_bytes", "0"),
        ("max_images", "1.5"),
        ("timeout_s", "0"),
        ("timeout_s", "nan"),
        ("timeout_s", "inf"),
        ("drain_timeout_s", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("otlp_endpoint", "localhost:4318"),
        ("otlp_endpoint", "https://user:secret@localhost:4318"),
    ],
)
def test_a_value_outside_its_limits_is_named_with_its_setting_and_its_place(
    monkeypatch, tmp_path, name, value
):
    def refusal(flags, config=None):
        with pytest.raises(SettingsError) as error:
            read_settings({"bundle": "b", **flags}, config=config)
        assert "\n" not in error.value.message
        return error.value.message

    assert refusal({name: value}).startswith(f"setting {name} (--{name.replace('_', '-')}) is {value!r}: ")
    config = write(tmp_path / "c.toml", f"{name} = '{value}'")
    assert refusal({}, config).startswith(f"setting {name} (in {config}) is {value!r}: ")
    monkeypatch.setenv(f"KOHONEN_{name.upper()}", value)
    assert refusal({}).startswith(f"setting {name} (KOHONEN_{name.upper()}) is {value!r}: ")


def test_settings_that_contradict_each_other_are_named_with_their_places(monkeypatch):
    monkeypatch.setenv("KOHONEN_MAX_QUEUE_IMAGES", "10")
    with pytest.raises(SettingsError) as error:
        read_settings({"bundle": "b", "max_images": "11"})
    assert error.value.message == (
        "max_images 11 is above max_queue_images 10; lower the one or raise the other "
        "(max_images: --max-images, max_queue_images: KOHONEN_MAX_QUEUE_IMAGES)"
    )


def test_a_missing_bundle_says_how_to_give_one():
    with pytest.raises(SettingsError, match=r"nothing to serve; give --bundle or set KOHONEN_BUNDLE"):
        read_settings({})


@pytest.mark.parametrize("name", ["KOHONEN_MAX_IMAGE", "kohonen_max_image"])
def test_an_unknown_variable_is_refused_by_name(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as error:
        read_settings({"bundle": "b"})
    assert error.value.message == f"{name} in the environment is no setting; did you mean KOHONEN_MAX_IMAGES?"


def test_an_unknown_name_in_the_file_is_refused(tmp_path):
    config = write(tmp_path / "c.toml", "prot = 1")
    with pytest.raises(SettingsError) as error:
        read_settings({"bundle": "b"}, config=config)
    assert error.value.message == f"'prot' (in {config}) is no setting; did you mean port?"
    with pytest.raises(SettingsError, match=r"'zzz' .* is no setting; kohonen-tokenizer serve --help lists"):
        read_settings({"bundle": "b"}, config=write(config, "zzz = 1"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), (b"\xff", "cannot be read: "), (b"port =", "is no TOML: ")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, reason):
    config = tmp_path / "c.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^the settings file {config} {reason}"):
        read_settings({"bundle": "b"}, config=config)


def test_lists_are_repeated_flags_or_json_in_the_environment(monkeypatch):
    keys = [{"name": name, "sha256": digit * 64} for name, digit in (("a", "0"), ("b", "1"))]
    origins = ["https://a.example", "http://b.example:8080"]
    flags = {"bundle": "b", "cors_origins": origins, "api_keys": [json.dumps(key) for key in keys]}
    by_flag = read_settings(flags)
    monkeypatch.setenv("KOHONEN_CORS_ORIGINS", json.dumps(origins))
    monkeypatch.setenv("KOHONEN_API_KEYS", json.dumps(keys))
    assert read_settings({"bundle": "b"}) == by_flag
    assert by_flag.cors_origins == tuple(origins)
    assert [(key.name, key.scopes) for key in by_flag.api_keys] == [("a", ("use",)), ("b", ("use",))]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("api_keys", "secret", r"KOHONEN_API_KEYS takes JSON: "),
        (
            "api_keys",
            '[{"name": "a", "sha256": "secret"}]',
            r"setting api_keys.0.sha256 \(KOHONEN_API_KEYS\): ",
        ),
        (
            "api_keys",
            '[{"name": "a", "sha256": "%s", "key": "secret"}]' % ("0" * 64),
            r"setting api_keys.0.key ",
        ),
        ("api_keys", json.dumps([{"name": "a", "sha256": "0" * 64}] * 2), r"two keys have one name"),
        ("cors_origins", "https://a.example", r"KOHONEN_CORS_ORIGINS takes JSON: "),
        (
            "cors_origins",
            '["https://a.example/path"]',
            r"setting cors_origins.0 \(KOHONEN_CORS_ORIGINS\) is ",
        ),
    ],
)
def test_a_list_that_is_wrong_is_refused_and_no_key_is_shown(monkeypatch, name, text, reason):
    monkeypatch.setenv(f"KOHONEN_{name.upper()}", text)
    with pytest.raises(SettingsError, match=reason) as error:
        read_settings({"bundle": "b"})
    assert "secret" not in error.value.message


def test_every_setting_says_what_it_means_and_every_number_is_bounded():
    for name, field in Settings.model_fields.items():
        assert field.description, name
    schema = Settings.model_json_schema()["properties"]
    numbers = [
        variant
        for field in schema.values()
        for variant in field.get("anyOf", [field])
        if variant.get("type") in ("integer", "number")
    ]
    assert len(numbers) > 10
    for number in numbers:
        assert "maximum" in number
        assert "minimum" in number or "exclusiveMinimum" in number


def test_what_is_printed_can_be_read_back(tmp_path):
    flags = {
        "bundle": 'a "quoted" \\ p\u00e4th\x7f',
        "max_wait_ms": "0.5",
        "cors_origins": ["https://a.example"],
        "api_keys": [
            json.dumps({"name": name, "sha256": "0" * 64, "scopes": ["use", "admin"]}) for name in "ab"
        ],
    }
    settings, origins = read_settings_and_origins(flags)
    text = write_toml(settings, origins=origins)
    again, origins = read_settings_and_origins({}, config=write(tmp_path / "c.toml", text))
    assert again == settings
    set_ = {name for name in Settings.model_fields if getattr(settings, name) not in (None, ())}
    assert {name for name, origin in origins.items() if origin != "default"} == set_


def test_what_is_printed_explains_itself(monkeypatch):
    monkeypatch.setenv("KOHONEN_PORT", "9000")
    settings, origins = read_settings_and_origins({"bundle": "b"})
    paragraphs = write_toml(settings, origins=origins).rstrip().split("\n\n")
    assert "# TCP port to listen on.\n# 1 to 65535; KOHONEN_PORT\nport = 9000" in paragraphs
    assert [paragraph.splitlines()[-1].strip("#[] ").split(" ")[0] for paragraph in paragraphs] == list(
        Settings.model_fields
    )
    (device,) = [paragraph for paragraph in paragraphs if "device = " in paragraph]
    assert "|cuda" in device


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


def test_an_empty_bundle_takes_that_of_an_image_back(monkeypatch):
    monkeypatch.setenv("KOHONEN_BUNDLE", "/bundle")
    with pytest.raises(SettingsError, match="both set; give one of them, or an empty bundle"):
        read_settings({"models": "m"})
    monkeypatch.setenv("KOHONEN_BUNDLE", "")
    settings = read_settings({"models": "m"})
    assert (settings.bundle, settings.models) == (None, Path("m"))
