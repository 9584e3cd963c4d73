"""The fields of Settings as their sources see them: names, bounds, and which of them are lists."""

from typing import get_args, get_origin

from pydantic import BaseModel

from .settings import ENV_PREFIX, Settings


def flag(name: str) -> str:
    """The option of `serve` that sets the field `name`."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The environment variable that sets the field `name`."""
    return f"{ENV_PREFIX}{name.upper()}"


def is_list(name: str) -> bool:
    """Whether the field `name` takes several values."""
    return get_origin(Settings.model_fields[name].annotation) is tuple


def is_list_of_tables(name: str) -> bool:
    """Whether the field `name` takes several objects, which are tables in TOML."""
    if not is_list(name):
        return False
    entry = get_args(Settings.model_fields[name].annotation)[0]
    return isinstance(entry, type) and issubclass(entry, BaseModel)


def bounds(name: str) -> str:
    """What the field `name` may be, in few words; empty where a value of its type may be anything."""
    schema = Settings.model_json_schema()["properties"][name]
    for variant in schema.get("anyOf", [schema]):
        if "enum" in variant:
            return "|".join(variant["enum"])
        if "minimum" in variant:
            return f"{_number(variant['minimum'])} to {_number(variant['maximum'])}"
        if "exclusiveMinimum" in variant:
            return f"above {_number(variant['exclusiveMinimum'])}, to {_number(variant['maximum'])}"
    return ""


def _number(value: float) -> str:
    # Of as many digits as a double has: 10.0 as 10, and no large integer with an exponent.
    return f"{value:.15g}"
