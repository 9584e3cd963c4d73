"""A job from its options to a dataset: plan, encode what is missing, finish with the manifest."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from kohonen_tokenizer.service.runtime.bundle import load_bundle
from kohonen_tokenizer.service.runtime.devices import Device
from kohonen_tokenizer.service.runtime.images import Resize
from kohonen_tokenizer.service.runtime.manifest import GraphFormat

from .encoding import Work
from .engine import Engine
from .errors import DestinationError
from .identity import Identity
from .lock import locked
from .manifest import MANIFEST_FILE, DatasetManifest, write_manifest
from .plan import Plan, make_plan, read_plan, write_plan
from .shards import ShardRecord, complete_shards
from .sources.source import Source
from .storage import Storage
from .tally import Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a job is done."""

    bundle: str
    resize: Resize = "crop"
    device: Device = "cpu"
    backend: GraphFormat = "onnx"
    num_threads: int | None = None
    """Of each worker's model on the CPU; None for what the engine says."""
    rows_per_shard: int = 4096
    batch_size: int | None = None
    """Images of one run of the model; None for what the device gains most from."""
    max_errors: int | None = None
    """Failed images of this run that are borne; None for any number."""
    retry_failed: bool = False
    """Encode the failed images of complete shards once more."""
    as_planned: bool = False
    """Carry on although the source has changed since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a job stands before this run."""

    plan: Plan
    complete: dict[int, ShardRecord]
    to_do: list[int]
    """Shards."""

    @property
    def num_images_done(self) -> int:
        """Those of shards that this run leaves as they are."""
        to_do = set(self.to_do)
        return sum(record.num_images for shard, record in self.complete.items() if shard not in to_do)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run did."""

    manifest: DatasetManifest
    num_images: int
    """Images of this run."""
    num_shards: int
    """Shards of this run."""
    seconds: float


OnStart = Callable[[Standing, Tally], None]


def look(source: Source, destination: Storage, *, options: Options) -> Standing:
    """What a run would do; nothing is written.

    Raises:
        BatchError: it would be refused.
    """
    plan, _ = _plan(source, options=options)
    return _standing(destination, plan=plan, options=options)


def run(
    source: Source, destination: Storage, *, options: Options, engine: Engine, on_start: OnStart
) -> Outcome:
    """Encode `source` into `destination`, or what is missing there.

    Args:
        source: the images.
        destination: a new folder, or that of the same job before.
        options: how.
        engine: who deals out the shards.
        on_start: is called when the work begins, with what will count it.

    Raises:
        BatchError: it was refused, or it stopped; the shards that are complete stay.
        TokenizerError: the model does not start.
        OSError: a folder of the source cannot be listed.
    """
    plan, pieces = _plan(source, options=options)
    with _destination_errors(destination), locked(destination):
        destination.remove_temporary_files()
        standing = _standing(destination, plan=plan, options=options)
        if read_plan(destination) is None:
            write_plan(destination, plan, pieces=pieces)
        records = dict(standing.complete)
        if standing.to_do:
            destination.remove(MANIFEST_FILE)
        started = time.monotonic()
        tally = Tally(max_errors=options.max_errors)
        on_start(standing, tally)
        work = Work(
            plan=standing.plan,
            source=source,
            destination=destination,
            bundle=options.bundle,
            device=options.device,
            backend=options.backend,
            num_threads=options.num_threads or engine.num_threads,
            batch_size=options.batch_size,
            keep_good_rows=options.retry_failed,
        )
        if standing.to_do:
            # Closed here whatever happens, or the workers of a job that was stopped go on.
            with closing(engine.encode_shards(work, standing.to_do, tally=tally)) as found:
                records |= {record.shard: record for record in found}
            # Of workers that died while others went on.
            destination.remove_temporary_files()
        manifest = DatasetManifest.of(standing.plan, records)
        write_manifest(destination, manifest)
    return Outcome(
        manifest=manifest,
        num_images=tally.num_images,
        num_shards=len(standing.to_do),
        seconds=time.monotonic() - started,
    )


def _plan(source: Source, *, options: Options) -> tuple[Plan, bytes]:
    """The plan of `source`, and the content of the file of its pieces."""
    bundle = load_bundle(options.bundle, graph_format=options.backend)
    identity = Identity.of(bundle, resize=options.resize)
    return make_plan(source, identity=identity, rows_per_shard=options.rows_per_shard)


def _standing(destination: Storage, *, plan: Plan, options: Options) -> Standing:
    planned = read_plan(destination)
    if planned is None:
        return Standing(plan=plan, complete={}, to_do=list(range(plan.num_shards)))
    plan.require_same(planned, where=destination.url, as_planned=options.as_planned)
    complete = complete_shards(destination, num_shards=planned.num_shards)
    to_do = [
        shard
        for shard in range(planned.num_shards)
        if shard not in complete or (options.retry_failed and complete[shard].num_failed)
    ]
    return Standing(plan=planned, complete=complete, to_do=to_do)


@contextmanager
def _destination_errors(destination: Storage) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{error.filename or destination.url}: {error.strerror or error}; "
            "mend that, and the same command carries on"
        ) from None
