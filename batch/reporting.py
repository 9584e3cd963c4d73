"""A job at a terminal or under a scheduler: its progress on stderr, its result on stdout, its exit status."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import typer
from tqdm import tqdm

from .dataset import Dataset
from .engine import Engine
from .errors import ErrorLimitError
from .exit_status import ERROR_LIMIT, INTERRUPTED, SOME_FAILED
from .job import OnStart, Options, Outcome, Standing, look, run
from .sources.source import Source
from .storage import Storage
from .tally import Tally

_MAX_FAILURES_SHOWN = 20
# A log gets a line now and then, a terminal a bar that moves.
_LOG_INTERVAL_S = 30.0
_TERMINAL_INTERVAL_S = 0.2
_POLL_S = 0.1


def say_what_is_to_do(source: Source, destination: Storage, *, options: Options, as_json: bool) -> None:
    """Print what a run would do; nothing is written.

    Raises:
        BatchError: it would be refused.
    """
    standing = look(source, destination, options=options)
    plan = standing.plan
    found = {
        "source_kind": plan.source_kind,
        "num_images": plan.num_images,
        "num_shards": plan.num_shards,
        "num_shards_complete": plan.num_shards - len(standing.to_do),
        "num_shards_to_do": len(standing.to_do),
        "num_images_done": standing.num_images_done,
    }
    if as_json:
        typer.echo(json.dumps(found))
        return
    images = "images that are not counted yet" if plan.num_images is None else f"{plan.num_images:,} images"
    typer.echo(
        f"{plan.source_kind}: {images} in {plan.num_shards:,} shards, {len(standing.to_do):,} of them to do\n"
        f"model {plan.identity.model}, resize {plan.identity.preprocessing.resize}, into {destination.url}; "
        "nothing was written"
    )


def run_and_report(
    source: Source, destination: Storage, *, options: Options, engine: Engine, as_json: bool
) -> None:
    """Run a job with a progress bar and print its result.

    Raises:
        typer.Exit: some images failed, or the job was stopped.
        BatchError: it was refused, or cannot go on.
    """
    try:
        with _progress_bar() as on_start:
            outcome = run(source, destination, options=options, engine=engine, on_start=on_start)
    except ErrorLimitError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(ERROR_LIMIT) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command carries on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    manifest = outcome.manifest
    failures = Dataset(destination).failures(limit=_MAX_FAILURES_SHOWN) if manifest.num_failed else []
    if as_json:
        typer.echo(json.dumps(_result(outcome, failures=failures)))
    else:
        _print_result(outcome, failures=failures, where=destination.url)
    if manifest.num_failed:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _progress_bar() -> Iterator[OnStart]:
    """A bar that moves by itself once the job has started; images of earlier runs are no part of its rate."""
    interval_s = _TERMINAL_INTERVAL_S if sys.stderr.isatty() else _LOG_INTERVAL_S
    is_over = Event()
    threads: list[Thread] = []

    with tqdm(unit=" images", mininterval=interval_s, dynamic_ncols=True, leave=False, delay=0.5) as bar:

        def watch(standing: Standing, tally: Tally) -> None:
            if standing.plan.num_images is not None:
                bar.total = standing.plan.num_images - standing.num_images_done
            while not is_over.wait(_POLL_S):
                bar.set_postfix({"failed": tally.num_failed}, refresh=False)
                bar.update(tally.num_images - bar.n)

        def start(standing: Standing, tally: Tally) -> None:
            threads.append(Thread(target=watch, args=(standing, tally), name="progress", daemon=True))
            threads[0].start()

        try:
            yield start
        finally:
            is_over.set()
            for thread in threads:
                thread.join()


def _result(outcome: Outcome, *, failures: list[tuple[str, str]]) -> dict[str, object]:
    manifest = outcome.manifest
    return {
        "num_images": manifest.num_images,
        "num_failed": manifest.num_failed,
        "num_shards": len(manifest.shards),
        "num_images_this_run": outcome.num_images,
        "num_shards_this_run": outcome.num_shards,
        "seconds": round(outcome.seconds, 3),
        "images_per_s": round(outcome.num_images / outcome.seconds, 1),
        "failures": [{"id": name, "error": error} for name, error in failures],
    }


def _print_result(outcome: Outcome, *, failures: list[tuple[str, str]], where: str) -> None:
    manifest = outcome.manifest
    for name, error in failures:
        typer.echo(f"failed: {name}: {error}", err=True)
    if len(failures) < manifest.num_failed:
        typer.echo(
            f"failed: {manifest.num_failed - len(failures):,} more, the rows with status failed", err=True
        )
    typer.echo(
        f"{manifest.num_images:,} images, {manifest.num_failed:,} of them failed, "
        f"in {len(manifest.shards):,} shards in {where}; this run: {outcome.num_images:,} images "
        f"in {outcome.seconds:.1f} s, {outcome.num_images / outcome.seconds:,.0f} images/s"
    )
