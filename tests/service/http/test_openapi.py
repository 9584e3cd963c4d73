"""The documentation: complete, made for the model that is served, and true: every example works."""

import json
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from kohonen_tokenizer.service.http.auth import make_key

VARY = dict.fromkeys(
    (
        "/encode",
        "/decode",
        "/codebook",
        "/neighbors/table",
        "/soft-targets",
        "/perturb",
        "/interpolate",
    ),
    "Accept",
) | {"/v2/models/{name}/infer": "Accept-Encoding"}
# Headers that say how this one reply is written.
OPTIONAL = {"content-encoding", "inference-header-content-length"}
BINARY = ("image/png", "application/x-npy", "application/x-safetensors", "text/plain")


@pytest.fixture(scope="module")
def schema(client):
    """The OpenAPI schema of the running server."""
    return client.get("/openapi.json").json()


def operations(schema):
    """(path, method, operation) of everything documented."""
    return [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def check(value: Any, schema: dict[str, Any], *, root: dict[str, Any]) -> None:
    """Raise ValidationError unless `value` fits the JSON Schema `schema` of the document `root`."""
    # Its references lead into the document: "#/components/...".
    Draft202012Validator({**schema, "components": root["components"]}).validate(value)


def open_operations(schema):
    """`operations` but those of the admin, which need a key: test_access.py makes them."""
    return [entry for entry in operations(schema) if entry[2]["tags"] != ["admin"]]


def example_calls(schema):
    """(path, method, parameters, body or None) of every example in the schema that needs no key."""
    for path, method, operation in open_operations(schema):
        parameters = {
            parameter["name"]: parameter["example"]
            for parameter in operation.get("parameters", [])
            if "example" in parameter
        }
        content = operation.get("requestBody", {}).get("content", {})
        examples = content.get("application/json", {}).get("examples", {})
        for example in examples.values():
            yield path, method, parameters, example["value"]
        if not examples:
            yield path, method, parameters, None


def make_call(client, method, path, parameters, body):
    """The reply to one call of `example_calls`, whose parameters may be in the path."""
    in_url = {name: value for name, value in parameters.items() if f"{{{name}}}" not in path}
    return client.request(method, path.format_map(parameters), params=in_url, json=body)


def test_all_calls_are_documented(schema):
    assert {(path, method) for path, method, _ in operations(schema)} == {
        ("/encode", "post"),
        ("/decode", "post"),
        ("/neighbors", "get"),
        ("/neighbors", "post"),
        ("/neighbors/table", "get"),
        ("/soft-targets", "get"),
        ("/soft-targets", "post"),
        ("/perturb", "post"),
        ("/interpolate", "post"),
        ("/codebook", "get"),
        ("/map.png", "get"),
        ("/models", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/models/{name}/load", "post"),
        ("/profile", "post"),
        ("/v2", "get"),
        ("/v2/health/live", "get"),
        ("/v2/health/ready", "get"),
        ("/v2/models/{name}", "get"),
        ("/v2/models/{name}/ready", "get"),
        ("/v2/models/{name}/infer", "post"),
    }


def test_every_call_has_an_example(schema):
    missing = [
        f"{method} {path}"
        for path, method, operation in operations(schema)
        if not operation.get("x-codeSamples")
    ]
    assert not missing


def test_every_call_is_in_one_of_the_groups(schema):
    groups = [group["name"] for group in schema["tags"]]
    for path, method, operation in operations(schema):
        (tag,) = operation["tags"]
        assert tag in groups, (path, method)
    assert all(group["description"] for group in schema["tags"])


def test_every_example_works_and_its_reply_fits_the_documented_schema(client, schema):
    calls = list(example_calls(schema))
    # Three ways to encode, two to decode, three to ask for neighbors in JSON, two each to weigh, to move
    # tokens and to lead them, one to infer, and the GETs.
    assert len(calls) == 3 + 2 + 3 + 2 + 2 + 2 + 1 + 14
    for path, method, parameters, body in calls:
        reply = make_call(client, method, path, parameters, body)
        assert reply.status_code == 200, (path, parameters, body, reply.text)
        content = schema["paths"][path][method]["responses"]["200"]["content"]
        media_type = reply.headers["content-type"].partition(";")[0]
        if media_type in BINARY:
            assert content[media_type]["schema"]["format"] == "binary"
            assert reply.content
        else:
            assert media_type == "application/json"
            check(reply.json(), content[media_type]["schema"], root=schema)


def test_every_json_example_fits_the_documented_schema_of_its_body(schema):
    num_examples = 0
    for _, _, operation in operations(schema):
        documented = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in documented.get("examples", {}).values():
            check(example["value"], documented["schema"], root=schema)
            num_examples += 1
    assert num_examples == 3 + 2 + 3 + 2 + 2 + 2 + 2 + 1


def test_every_command_works_as_pasted(schema, server, tmp_path):
    run_commands(schema, server.url, folder=tmp_path)


def test_with_several_models_the_examples_say_which_they_mean(start_server, tiny_bundle, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(tiny_bundle, tmp_path / "models" / name / "1")
    server = start_server(models=tmp_path / "models")
    with httpx.Client(base_url=server.url) as client:
        document = client.get("/openapi.json").json()
        calls = list(example_calls(document))
        for path, method, parameters, body in calls:
            reply = make_call(client, method, path, parameters, body)
            assert reply.status_code == 200, (path, parameters, body, reply.text)
    named = [path for path, _, parameters, _ in calls if "model" in parameters]
    assert {"/encode", "/decode", "/neighbors", "/map.png", "/codebook"} <= set(named)
    run_commands(document, server.url, folder=tmp_path)
    assert server.stop() == 0


def run_commands(schema, url, *, folder):
    """Run every documented command that needs no key, as one script in `folder`."""
    if shutil.which("curl") is None:
        pytest.skip("the documented commands are for curl, which this machine lacks")
    commands = []
    for path, _, operation in open_operations(schema):
        (sample,) = operation["x-codeSamples"]
        command = sample["source"]
        assert command.startswith("curl -s")
        names = {parameter["name"]: parameter.get("example") for parameter in operation.get("parameters", [])}
        assert f"{url}{path.format_map(names)}" in command
        commands.append(command)
    # -f: exit with an error where the reply is one.
    script = "set -eo pipefail\n" + "\n".join(commands).replace("curl -s", "curl -sf")
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for picture in ("decoded.png", "perturbed.png", "path.png", "map.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_every_reply_of_an_error_is_documented_with_its_codes(schema):
    for path, method, operation in operations(schema):
        replies = operation["responses"]
        assert "500" in replies, path
        for status, reply in replies.items():
            if int(status) >= 400:
                error = reply["content"]["application/json"]["schema"]
                if path.startswith("/v2"):
                    # The Open Inference Protocol has a shape of its own.
                    assert error["properties"]["error"]["type"] == "string", (path, method, status)
                    assert "X-Error-Code" in reply["headers"], (path, method, status)
                    continue
                assert error["$ref"] == "#/components/schemas/Error", (path, method, status)
                codes = error["properties"]["error"]["properties"]["code"]["enum"]
                assert codes, (path, method, status)
                assert len(set(codes)) == len(codes)


def test_every_part_is_described(schema):
    for path, method, operation in operations(schema):
        assert operation["summary"], path
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for option in content["schema"].get("oneOf", [content["schema"]]):
                for name, field in option.get("properties", {}).items():
                    assert field["description"], (path, media_type, name)
        if method == "post" and operation["tags"] != ["admin"]:
            assert operation["requestBody"]["required"]
    assert set(schema["paths"]["/encode"]["post"]["requestBody"]["content"]) == {
        "image/jpeg",
        "image/png",
        "image/webp",
        "application/json",
        "application/x-npy",
        "application/x-safetensors",
        "multipart/form-data",
    }


def test_without_keys_only_the_calls_of_the_admin_need_one(schema):
    for path, method, operation in operations(schema):
        needs_key = operation["tags"] == ["admin"]
        assert ("security" in operation) == needs_key, (path, method)
        assert ("401" in operation["responses"]) == needs_key, (path, method)


def test_with_keys_the_document_says_which_calls_need_one(start_server, tiny_bundle):
    key, entry = make_key("somebody", scopes=("use",))
    server = start_server(tiny_bundle, api_keys=json.dumps([entry.model_dump()]))
    with httpx.Client(base_url=server.url) as client:
        # Open, like /docs: neither holds a secret.
        assert client.get("/docs").status_code == 200
        page = client.get("/openapi.json")
        assert key not in page.text
        assert entry.sha256 not in page.text
        document = page.json()
        assert document["components"]["securitySchemes"] == {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        found = set()
        for path, method, operation in operations(document):
            needs_key = client.request(method, path).status_code == 401
            found.add(needs_key)
            assert operation.get("security") == ([{"bearer": []}, {"header": []}] if needs_key else None), (
                path
            )
            assert ("401" in operation["responses"]) == needs_key, path
            assert ("Authorization: Bearer $" in operation["x-codeSamples"][0]["source"]) == needs_key, path
        assert found == {True, False}
    assert server.stop() == 0


def test_the_time_that_a_call_may_take_is_documented_where_it_counts(client, schema):
    for path, method, operation in operations(schema):
        if operation["tags"] == ["admin"]:
            continue
        names = [parameter["name"] for parameter in operation.get("parameters", [])]
        reply = client.request(
            method, path.format(name="tiny-colors-decoder"), headers={"X-Timeout-S": "never"}
        )
        assert ("X-Timeout-S is" in reply.text) == ("X-Timeout-S" in names), path


def test_the_examples_are_for_the_address_that_the_client_used(client):
    headers = {"Host": "tokens.example:8443"}
    schema = client.get("/openapi.json", headers=headers).json()
    commands = [operation["x-codeSamples"][0]["source"] for _, _, operation in operations(schema)]
    assert all("http://tokens.example:8443/" in command for command in commands)
    assert "http://tokens.example:8443/encode" in client.get("/docs", headers=headers).text


def test_the_headers_of_good_replies_are_the_documented_ones(client, schema):
    standard = {"content-type", "content-length", "date"}
    for path, method, parameters, body in example_calls(schema):
        reply = make_call(client, method, path, parameters, body)
        documented = schema["paths"][path][method]["responses"]["200"]["headers"]
        names = {name.lower() for name in documented}
        assert set(reply.headers) - standard - OPTIONAL == names - OPTIONAL, path
        assert reply.headers.get("vary") == VARY.get(path), path


class PageReader(HTMLParser):
    """Collects what a page says and what it would load; fails on tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_every_call_and_needs_nothing_from_elsewhere(client, schema):
    reply = client.get("/docs")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = PageReader(reply.text)
    for path, method, operation in operations(schema):
        assert f"{method.upper()} {path} {operation['summary']}" in page.text
        assert operation["x-codeSamples"][0]["source"] in page.text
        for parameter in operation.get("parameters", []):
            assert parameter["name"] in page.text
        section = page.text.split(f"{method.upper()} {path} {operation['summary']}")[2]
        for status, reply in operation["responses"].items():
            assert (
                f"{status}{reply['description'].replace('`', '').removeprefix('- ').splitlines()[0]}"
                in section
            )
    assert not page.tags & {"script", "img", "iframe"}
    icon, *links = [value for name, value in page.attributes if name in ("href", "src")]
    # Else browsers would ask for /favicon.ico, and find nothing.
    assert icon.startswith("data:image/svg+xml,")
    assert f'<link rel="icon" href="{icon}">' in client.get("/").text
    assert "/openapi.json" in links
    targets = {value for name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} == targets
    assert all(link.startswith(("#", "/")) for link in links)


def test_what_a_client_says_of_itself_is_only_text_on_the_page(client):
    page = client.get("/docs", headers={"Host": "<b>.example"})
    assert "<b>" not in page.text
