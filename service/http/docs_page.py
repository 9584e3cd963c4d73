"""The page about the calls, made from the OpenAPI schema: plain HTML that needs no script and no network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; padding: 1rem;
  max-width: 56rem; overflow-wrap: anywhere }
h2 { margin-top: 3.5rem; font-size: 1.4rem }
h2::first-letter { text-transform: uppercase }
h3 { margin-top: 2rem; border-top: 1px solid #ccc; padding-top: 1rem; font-size: 1.1rem }
code, pre { font: 0.9em/1.5 ui-monospace, monospace; background: #f3f3f0; border-radius: 3px }
code { padding: 0.1em 0.3em }
pre { padding: 0.7rem; white-space: pre-wrap }
table { border-collapse: collapse; width: 100%; font-size: 0.95em }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0 }
th { font-weight: 600; white-space: nowrap }
td p { margin: 0 0 0.25rem }
h4 { font-size: 1rem; margin-bottom: 0.25rem }
summary { font-weight: 600; margin: 1rem 0 0.25rem; cursor: pointer }
nav dt { font-weight: 600; margin-top: 0.75rem }
nav dt::first-letter { text-transform: uppercase }
nav dd { margin: 0 }
@media (max-width: 40rem) { tr, th, td { display: block } th { white-space: normal } }
"""

# Four places on the map, as on the page at /. Without it browsers ask for /favicon.ico.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 2 2'%3E"
    "%3Cpath fill='%23ec9f9f' d='M0 0h1v1H0z'/%3E"
    "%3Cpath fill='%2386b8ef' d='M1 0h1v1H1z'/%3E"
    "%3Cpath fill='%238a5a17' d='M0 1h1v1H0z'/%3E"
    "%3Cpath fill='%23007d78' d='M1 1h1v1H1z'/%3E%3C/svg%3E"
)

_NO_BRACES = str.maketrans("", "", "{}")


@dataclass(frozen=True, slots=True)
class _Group:
    """The calls of one tag."""

    description: str
    calls: list[tuple[str, str, dict[str, Any]]]
    """Method, path and operation of each."""


def render_page(schema: dict[str, Any]) -> str:
    """The HTML of `schema`, as `build_openapi` gives it: each call with its inputs, replies and example."""
    title = escape(schema["info"]["title"])
    groups = {tag["name"]: _Group(tag["description"], calls=[]) for tag in schema["tags"]}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            groups[operation["tags"][0]].calls.append((method.upper(), path, operation))
    contents = "\n".join(_contents(name, group) for name, group in groups.items())
    sections = "\n".join(_group(name, group) for name, group in groups.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{_ICON}">
<style>{_STYLE}</style>
</head>
<body>
<h1>{title} {escape(schema["info"]["version"])}</h1>
{_prose(schema["info"]["description"])}
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
<nav>
<dl>
{contents}
</dl>
</nav>
{sections}
</body>
</html>
"""


def _contents(name: str, group: _Group) -> str:
    lines = [
        f'<dd><a href="#{_anchor(method, path)}"><code>{method} {escape(path)}</code></a> '
        f"{escape(operation['summary'])}</dd>"
        for method, path, operation in group.calls
    ]
    return "\n".join([f"<dt>{escape(name)}</dt>", *lines])


def _group(name: str, group: _Group) -> str:
    calls = (_call(method, path, operation) for method, path, operation in group.calls)
    return "\n".join([f"<h2>{escape(name)}</h2>", _prose(group.description), *calls])


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<h3 id="{_anchor(method, path)}"><code>{method} {escape(path)}</code> '
        f"{escape(operation['summary'])}</h3>",
        _prose(operation.get("description", "")),
        *(f"<pre>{escape(sample['source'])}</pre>" for sample in operation.get("x-codeSamples", [])),
        _table("Parameters in the URL", _parameters(operation, places=("path", "query"))),
        _table("Headers", _parameters(operation, places=("header",))),
        _table("Bodies", _bodies(operation)),
        _table("Replies", _replies(operation, is_error=False)),
        _errors(operation),
    ]
    return "\n".join(part for part in parts if part)


def _parameters(operation: dict[str, Any], *, places: Sequence[str]) -> Iterator[tuple[str, str]]:
    for parameter in operation.get("parameters", []):
        if parameter["in"] not in places:
            continue
        default = parameter["schema"].get("default")
        text = parameter.get("description", "") + (f" Default: `{default}`." if default is not None else "")
        yield parameter["name"], text


def _bodies(operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        for option in schema.get("oneOf", [schema]):
            fields = [
                f"`{name}`: {field.get('description', '')}"
                for name, field in option.get("properties", {}).items()
            ]
            yield media_type, "\n\n".join(filter(None, [option.get("description"), *fields]))


def _errors(operation: dict[str, Any]) -> str:
    # Closed at first: they are the longest part of most calls, and much the same for all.
    table = _rows(_replies(operation, is_error=True))
    return f"<details>\n<summary>Errors</summary>\n{table}\n</details>" if table else ""


def _replies(operation: dict[str, Any], *, is_error: bool) -> Iterator[tuple[str, str]]:
    for status, reply in operation["responses"].items():
        if (int(status) >= 400) != is_error:
            continue
        media_types = "" if is_error else ", ".join(reply.get("content", {}))
        yield status, reply["description"] + (f"\n\n{media_types}" if media_types else "")


def _table(heading: str, rows: Iterator[tuple[str, str]]) -> str:
    table = _rows(rows)
    return f"<h4>{heading}</h4>\n{table}" if table else ""


def _rows(rows: Iterator[tuple[str, str]]) -> str:
    body = "\n".join(f"<tr><th>{escape(name)}</th><td>{_prose(text)}</td></tr>" for name, text in rows)
    return f"<table>\n{body}\n</table>" if body else ""


def _prose(text: str) -> str:
    """The little Markdown of our own descriptions: paragraphs, lists, and code in backticks."""
    paragraphs = escape(text.strip()).replace("\n- ", "\n\n").removeprefix("- ").split("\n\n")
    return "".join(f"<p>{_code(paragraph)}</p>" for paragraph in paragraphs)


def _code(text: str) -> str:
    pieces = text.split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))


def _anchor(method: str, path: str) -> str:
    # No braces, which mean nothing in the address of a place on a page.
    return f"{method.lower()}{path.replace('/', '-').translate(_NO_BRACES)}"
