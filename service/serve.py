"""The command `serve`: every setting is an option of it.

By itself it loads neither the runtime nor a web framework, for a supervisor of workers needs neither.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from .http.settings import Settings
from .http.settings_fields import bounds, flag, is_list, variable
from .http.settings_sources import CONFIG_VARIABLE, read_settings_and_origins
from .http.settings_toml import write_toml

app = typer.Typer(help="Serve a bundle over HTTP.")


def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(help=f"A TOML file of settings, by the names below with _ for -. ({CONFIG_VARIABLE})"),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config",
            help="Print every setting and where it was set, as a file for --config, and exit.",
        ),
    ] = False,
    **flags: object,
) -> None:
    """Serve a bundle over HTTP until SIGTERM or Ctrl-C.

    A setting is an option, an environment variable, or a line of a TOML file; the first that is given counts.
    A list takes one option for each of its entries, and is JSON in the environment.

    Example: kohonen-tokenizer serve --bundle my-bundle --port 8000
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings, origins = read_settings_and_origins(given, config=config)
    if print_config:
        typer.echo(write_toml(settings, origins=origins), nl=False)
        return
    settings.require_models()
    from .http.logs import configure_logging

    # Before the models, for loading them says which device it chose.
    configure_logging(settings.log_level, log_format=settings.log_format)
    if settings.workers > 1:
        from .http.supervisor import supervise

        supervise(settings)
        return
    from .http.loading import load_models
    from .http.server import run

    run(settings, models=load_models(settings))


def _options() -> Iterator[inspect.Parameter]:
    for name, field in Settings.model_fields.items():
        option = typer.Option(
            flag(name),
            metavar=bounds(name) or None,
            help=f"{field.description} ({variable(name)}; {_default(field)})",
            show_default=False,
        )
        # A text, whatever the setting's type: pydantic checks it, as it does in the environment and the file.
        kind: Any = list[str] | None if is_list(name) else str | None
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
        )


def _default(field: FieldInfo) -> str:
    return "none" if field.default in (None, ()) else f"default {field.default}"


def _with_options(options: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """`serve` with `options` in the place of its flags: typer reads them from its signature."""
    signature = inspect.signature(serve)
    own = [item for item in signature.parameters.values() if item.kind is inspect.Parameter.KEYWORD_ONLY]
    serve.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return serve


app.command()(_with_options(_options()))
