"""The command `kohonen-tokenizer`. It only composes: a part is imported when a command of it is called."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from kohonen_tokenizer import __version__
from kohonen_tokenizer.batch.errors import BatchError
from kohonen_tokenizer.export.errors import ExportError
from kohonen_tokenizer.install_command import install_command
from kohonen_tokenizer.service.errors import TokenizerError
from kohonen_tokenizer.training.errors import TrainingError

PROGRAM = "kohonen-tokenizer"
USER_ERROR = 2


@dataclass(frozen=True)
class _Part:
    """A part of the package that installs alone."""

    module: str
    """Holds `app`, a typer.Typer with the part's commands."""
    extra: str | None = None
    """What to install for it, where the base is not enough."""


_SERVER = _Part("kohonen_tokenizer.service.serve")
_SERVICE = _Part("kohonen_tokenizer.service.cli")
_BATCH = _Part("kohonen_tokenizer.batch.cli", extra="batch")
_TRAINING = _Part("kohonen_tokenizer.training.cli", extra="training")
_EXPORT = _Part("kohonen_tokenizer.export.cli", extra="export")

_COMMANDS = {
    "serve": (_SERVER, "Serve a bundle over HTTP."),
    "encode": (_BATCH, "Turn images into grids of tokens, a few or a dataset."),
    "decode": (_BATCH, "Turn grids of tokens back into images, a few or a dataset."),
    "verify": (_BATCH, "Read a dataset of tokens again and compare it with its manifest."),
    "tokens": (_BATCH, "Export a dataset of tokens for training."),
    "inspect": (_SERVICE, "Verify a bundle and say what is in it."),
    "doctor": (_SERVICE, "Say what this machine can run the model on, and why not on more."),
    "new-key": (_SERVICE, "Make an API key for the service."),
    "train": (_TRAINING, "Train a model on images."),
    "evaluate": (_TRAINING, "Measure a trained model on images."),
    "experiment": (_TRAINING, "Repeat a table or a figure of the paper."),
    "export": (_EXPORT, "Turn a checkpoint into a bundle that can be served."),
}


class _LazyGroup(TyperGroup):
    """Lists commands from the table and imports the part behind one only to run it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name not in _COMMANDS:
            return name, command, rest
        ctx.invoked_subcommand = name  # for `invoke`, should this import fail
        part, _ = _COMMANDS[name]
        app = typer.main.get_command(importlib.import_module(part.module).app)
        # Typer makes no group of an app with a single command.
        return name, app.commands[name] if isinstance(app, TyperGroup) else app, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            part, _ = _COMMANDS[ctx.invoked_subcommand]
            if part.extra is None or (error.name or "").startswith("kohonen_tokenizer"):
                raise
            _fail(
                f"{ctx.invoked_subcommand} needs {error.name}, which is not installed; "
                f"run: {install_command(part.extra)}"
            )


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `args`, by default that of the process, and exit.

    The status is 0, or 2 after one line on stderr about an error that the user can mend. Anything else is a
    bug and ends in a traceback.
    """
    args = sys.argv[1:] if args is None else args
    try:
        status = _build()(args=args or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except (TokenizerError, BatchError, TrainingError, ExportError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except typer.TyperException as error:
        _fail(f"{error.format_message().rstrip('.')}; --help says more")
    # A command that raises typer.Exit gives its status here, any other its own result.
    sys.exit(status if isinstance(status, int) else 0)


def _build() -> typer.Typer:
    app = typer.Typer(
        cls=_LazyGroup,
        help="Images to grids of map-ordered tokens, and back.",
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, (_, summary) in _COMMANDS.items():
        app.command(name, help=summary)(_listed)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Holds the options of the command itself."""


def _listed() -> None:
    """Stands in the help for a command that `_LazyGroup` loads in its place."""


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(USER_ERROR)
