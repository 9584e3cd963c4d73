"""The documentation: complete, made for the model that is served, and true: every example works."""

import shutil
import subprocess
from typing import Any

import pytest

BINARY = ("image/png", "application/x-npy", "text/plain")


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


def check(value: Any, schema: dict[str, Any], *, root: dict[str, Any], where: str = "reply") -> None:
    """Fail unless `value` fits the JSON Schema `schema`; a keyword that is not known here fails too."""
    # The type first: the other keywords take it for granted.
    for keyword, rule in sorted(schema.items(), key=lambda item: item[0] != "type"):
        match keyword:
            case "$ref":
                target = root
                for part in rule.removeprefix("#/").split("/"):
                    target = target[part]
                check(value, target, root=root, where=where)
            case "type":
                types = {
                    "object": dict,
                    "array": list,
                    "string": str,
                    "integer": int,
                    "number": (int, float),
                    "null": type(None),
                }
                assert isinstance(value, types[rule]), f"{where} is no {rule}: {value!r}"
                assert not isinstance(value, bool), where
            case "properties":
                for name, subschema in rule.items():
                    if name in value:
                        check(value[name], subschema, root=root, where=f"{where}.{name}")
            case "required":
                assert set(rule) <= set(value), f"{where} lacks {set(rule) - set(value)}"
            case "additionalProperties":
                extra = set(value) - set(schema.get("properties", {}))
                if rule is False:
                    assert not extra, f"{where} has {extra}"
                elif rule is not True:
                    for name in extra:
                        check(value[name], rule, root=root, where=f"{where}.{name}")
            case "items":
                for index, item in enumerate(value):
                    check(item, rule, root=root, where=f"{where}[{index}]")
            case "prefixItems":
                for index, (item, subschema) in enumerate(zip(value, rule, strict=False)):
                    check(item, subschema, root=root, where=f"{where}[{index}]")
            case "minItems":
                assert len(value) >= rule, where
            case "maxItems":
                assert len(value) <= rule, where
            case "const":
                assert value == rule, where
            case "enum":
                assert value in rule, f"{where}: {value!r} is none of {rule}"
            case "minimum":
                assert value >= rule, where
            case "exclusiveMinimum":
                assert value > rule, where
            case "anyOf" | "oneOf":
                assert any(fits(value, option, root=root) for option in rule), f"{where} fits none of {rule}"
            case "pattern" | "title" | "description" | "default" | "format":
                pass
            case _:
                pytest.fail(f"{where}: the keyword {keyword} is not known to this test")


def fits(value: Any, schema: dict[str, Any], *, root: dict[str, Any]) -> bool:
    try:
        check(value, schema, root=root)
    except AssertionError:
        return False
    return True


def example_calls(schema):
    """(path, method, parameters, body or None) of every example in the schema."""
    for path, method, operation in operations(schema):
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


def test_all_calls_are_documented(schema):
    assert {(path, method) for path, method, _ in operations(schema)} == {
        ("/encode", "post"),
        ("/decode", "post"),
        ("/neighbors", "get"),
        ("/neighbors", "post"),
        ("/codebook", "get"),
        ("/map.png", "get"),
        ("/models", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    }


def test_every_example_works_and_its_reply_fits_the_documented_schema(client, schema):
    calls = list(example_calls(schema))
    # Three ways to encode, two to decode, three to ask for neighbors in JSON, and the GETs.
    assert len(calls) == 3 + 2 + 3 + 7
    for path, method, parameters, body in calls:
        reply = client.request(method, path, params=parameters, json=body)
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
    bodies = [(path, method, body) for path, method, _, body in example_calls(schema) if body is not None]
    assert bodies
    for path, method, body in bodies:
        documented = schema["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
        check(body, documented, root=schema)


def test_the_check_of_this_test_can_fail(client, schema):
    encoded = schema["paths"]["/encode"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    good = {"tokens": [[[1]]], "model": "m", "codebook_hash": "h"}
    check(good, encoded, root=schema)
    for bad in ({"tokens": [[1]]}, {"tokens": [[[1.5]]]}, {"tokens": [[[True]]]}, {"extra": 1}, {"model": 1}):
        assert not fits(good | bad, encoded, root=schema)
    assert not fits({}, encoded, root=schema)


def test_every_command_works_as_pasted(schema, server, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("the documented commands are for curl, which this machine lacks")
    commands = []
    for path, _, operation in operations(schema):
        command = operation["description"].split("```sh\n")[1].split("\n```")[0]
        assert command.startswith("curl -s")
        assert f"{server.url}{path}" in command
        commands.append(command)
    # -f: exit with an error where the reply is one.
    script = "set -eo pipefail\n" + "\n".join(commands).replace("curl -s", "curl -sf")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "decoded.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_every_reply_of_an_error_is_documented_with_its_codes(schema):
    for path, method, operation in operations(schema):
        replies = operation["responses"]
        assert "500" in replies, path
        for status, reply in replies.items():
            if int(status) >= 400:
                error = reply["content"]["application/json"]["schema"]
                assert error["$ref"] == "#/components/schemas/Error", (path, method, status)
                codes = error["properties"]["error"]["properties"]["code"]["enum"]
                assert codes, (path, method, status)
                assert len(set(codes)) == len(codes)


def test_every_part_is_described(schema):
    for path, method, operation in operations(schema):
        assert operation["summary"], path
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
        if method == "post":
            assert operation["requestBody"]["required"]
    assert set(schema["paths"]["/encode"]["post"]["requestBody"]["content"]) == {
        "image/jpeg",
        "image/png",
        "image/webp",
        "application/json",
        "application/x-npy",
        "multipart/form-data",
    }


def test_the_documentation_page_and_the_way_to_it(client):
    root = client.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "/docs")
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in page.text
