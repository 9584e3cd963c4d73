"""Where settings come from: the command line, then the environment, then a TOML file, then the defaults."""

import difflib
import json
import os
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from ..errors import SettingsError
from .settings import ENV_PREFIX, Settings
from .settings_fields import flag, is_list, is_list_of_tables, variable

CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
DEFAULT = "default"


@dataclass(frozen=True)
class _Given:
    """A value as it was given, before any check, and the place where it was given."""

    value: object
    origin: str


def read_settings(flags: Mapping[str, object], *, config: Path | None = None) -> Settings:
    """Settings from `flags` (by field name), the environment, and the TOML file `config`, in this order.

    Raises:
        SettingsError: a name that is no setting, a value outside its limits, a file that cannot be read, or
            nothing to serve.
    """
    settings, _ = read_settings_and_origins(flags, config=config)
    settings.require_models()
    return settings


def read_settings_and_origins(
    flags: Mapping[str, object], *, config: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Settings as `read_settings` gives them, and by field name the flag, variable or file that set each.

    Raises:
        SettingsError: as in `read_settings`, but that there may be nothing to serve.
    """
    if config is None and (path := os.environ.get(CONFIG_VARIABLE)):
        config = Path(path)
    given = ChainMap(_from_flags(flags), _from_environment(), _from_file(config) if config else {})
    for name, value in given.items():
        if name not in Settings.model_fields:
            raise _unknown(name, shown=f"{name!r} ({value.origin})", known=Settings.model_fields)
    try:
        settings = Settings.model_validate({name: value.value for name, value in given.items()})
    except ValidationError as error:
        raise _refusal(error, given) from None
    origins = {name: given[name].origin if name in given else DEFAULT for name in Settings.model_fields}
    return settings, origins


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    given = {}
    for name, value in flags.items():
        if isinstance(value, list) and is_list_of_tables(name):
            value = [_read_json(entry, shown=flag(name)) for entry in value]
        given[name] = _Given(value, flag(name))
    return given


def _from_environment() -> dict[str, _Given]:
    known = {variable(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    for name in sorted(os.environ):
        # pydantic-settings looks only for the names it knows: a misspelt limit would silently not apply.
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            raise _unknown(name.upper(), shown=f"{name} in the environment", known=known)
    given = {}
    for name, value in EnvSettingsSource(Settings)().items():
        if is_list(name):
            value = _read_json(value, shown=variable(name))
        given[name] = _Given(value, variable(name))
    return given


def _from_file(path: Path) -> dict[str, _Given]:
    # Not pydantic-settings' own reader, to which a file that is not there is an empty one.
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"the settings file {path} cannot be read: {reason}") from None
    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the settings file {path} is no TOML: {error}") from None
    return {name: _Given(value, f"in {path}") for name, value in values.items()}


def _read_json(text: str, *, shown: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{shown} takes JSON: {error}") from None
    return value


def _unknown(name: str, *, shown: str, known: Mapping[str, object] | set[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {near[0]}?" if near else "kohonen-tokenizer serve --help lists them"
    return SettingsError(f"{shown} is no setting; {fix}")


def _refusal(error: ValidationError, given: Mapping[str, _Given]) -> SettingsError:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        # Settings that contradict each other: say where each of them was set.
        origins = [
            f"{name}: {value.origin}" for name, value in sorted(given.items()) if name in message.split()
        ]
        return SettingsError(f"{message} ({', '.join(origins)})" if origins else message)
    field, name = str(first["loc"][0]), ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden" and first["loc"][-1] in Settings.model_fields:
        return SettingsError(
            f"setting {first['loc'][-1]} ({given[field].origin}) stands below [[{field}]] and so belongs to "
            f"that; put settings above the first [[{field}]]"
        )
    # A key that was put where its hash belongs must not end up in a log.
    value = f" is {first['input']!r}" if Settings.model_fields[field].repr else ""
    return SettingsError(f"setting {name} ({given[field].origin}){value}: {message}")
