"""Settings as TOML that explains itself, and that `serve --config` reads back."""

import json
import textwrap
from collections.abc import Mapping

from .settings import Settings
from .settings_fields import bounds, is_list_of_tables

_WIDTH = 100


def write_toml(settings: Settings, *, origins: Mapping[str, str]) -> str:
    """Every setting with its meaning, its bounds, and where it was set (`origins`, by field name)."""
    values = settings.model_dump(mode="json")
    paragraphs = []
    # Tables last: whatever follows one would belong to it.
    for name in sorted(values, key=is_list_of_tables):
        meaning = Settings.model_fields[name].description or ""
        limits = bounds(name)
        comments = textwrap.wrap(meaning, width=_WIDTH, break_on_hyphens=False)
        comments.append(f"{limits}; {origins[name]}" if limits else origins[name])
        lines = [f"# {comment}" for comment in comments]
        if is_list_of_tables(name):
            lines += [write_table(name, entry) for entry in values[name]] or [f"# [[{name}]]"]
        elif values[name] is None:
            # TOML has no null: what is unset stays out.
            lines.append(f"# {name} =")
        else:
            lines.append(f"{name} = {_literal(values[name])}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs) + "\n"


def write_table(name: str, entry: Mapping[str, object]) -> str:
    """One entry of the list of tables `name`."""
    return "\n".join([f"[[{name}]]", *(f"{key} = {_literal(value)}" for key, value in entry.items())])


def _literal(value: object) -> str:
    # Of texts, numbers, booleans and lists of these, JSON is TOML too, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
