"""A mixture of everything at 80% load, while memory, files, threads and latency are watched.

    python -m benchmarks.soak

JPEGs of several sizes, PNGs, arrays, tokens to decode, requests that must be refused, and clients that leave
in the middle. Every reply is compared with the first to the same request. Memory is flat if a line through
the second half of the samples rises by less than 1% of their mean; the medians of files and of threads must
not be higher in that half than they were in the first, and that of the windows' p99 not by more than 10%.
"""

import argparse
import asyncio
import io
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from kohonen_tokenizer import Tokenizer

from .client import HOST, Reply, post, send_all
from .machine import describe_machine, write_result
from .open_loop import open_loop
from .processes import end_on_sigterm, usage
from .servers import ROOT, all_servers, serving, wait_until_right
from .workloads import Name, Workload, make_workloads

LOAD = 0.8
WINDOW_S = 10.0
CONNECTIONS = 32
MOST_GROWTH = 0.01
MOST_SLOWING = 0.1
LEAVERS_PER_S = 5
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One window of the soak."""

    rss_mib: float
    num_files: int
    num_threads: int
    p99_ms: float
    statuses: dict[int, int]
    num_wrong: int


def main() -> int:
    """Soak, print and write; the status is 1 if a verdict is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-ksom-512")
    parser.add_argument("--minutes", type=float, default=10, help="default: 10")
    arguments = parser.parse_args()
    end_on_sigterm()
    workloads = make_workloads(Tokenizer.load(arguments.bundle))
    requests = _make_requests(workloads)
    server = all_servers(arguments.bundle)[0]
    samples = []
    print("| s | MiB | files | threads | p99 ms | statuses |\n|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as logs,
        serving(server, bundle=arguments.bundle, log=Path(logs, "log")) as started,
    ):
        wait_until_right(started, workloads["A"])
        rate, replies = _measure_capacity(requests, port=started.port)
        due = Counter(reply.status for reply in replies)
        leaving = threading.Event()
        leavers = threading.Thread(target=_leave_early, args=(requests, started.port, leaving))
        leavers.start()
        try:
            for number in range(max(4, round(arguments.minutes * 60 / WINDOW_S))):
                opened = open_loop(
                    requests,
                    expected=[reply.body for reply in replies],
                    port=started.port,
                    rate=LOAD * rate,
                    seconds=WINDOW_S,
                )
                used = usage(started.pid)
                samples.append(
                    Sample(
                        rss_mib=used.rss_mib,
                        num_files=used.num_files,
                        num_threads=used.num_threads,
                        p99_ms=opened.p99_ms,
                        statuses=opened.statuses,
                        num_wrong=opened.num_wrong
                        + sum(count for status, count in opened.statuses.items() if status not in due),
                    )
                )
                print(_row(number, samples[-1]), flush=True)
        finally:
            leaving.set()
            leavers.join()
    verdicts = _judge(samples)
    print("\n" + "\n".join(f"- {'met' if is_met else 'MISSED'}: {text}" for text, is_met in verdicts))
    content = describe_machine() | {
        "requests_per_s": LOAD * rate,
        "statuses_of_a_cycle": due,
        "verdicts": verdicts,
        "samples": samples,
    }
    print(f"\nWritten: {write_result('soak', content)}")
    return 0 if all(is_met for _, is_met in verdicts) else 1


def _make_requests(workloads: dict[Name, Workload]) -> list[bytes]:
    """One cycle of the mixture, in a random order that is the same each time."""
    small, raw, large = workloads["A"], workloads["B"], workloads["C"]
    photograph = Image.fromarray(load_sample_images().images[0])
    array = np.load(io.BytesIO(raw.bodies[0]))

    def npy(images: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, images)
        return file.getvalue()

    def image(size: tuple[int, int], kind: str) -> bytes:
        file = io.BytesIO()
        photograph.resize(size).save(file, format=kind)
        return file.getvalue()

    tokens = [json.dumps({"tokens": grid.tolist()}).encode() for grid in small.tokens[:8]]
    jpeg, png, to_json = (
        {"Content-Type": "image/jpeg"},
        {"Content-Type": "image/png"},
        {"Content-Type": "application/json"},
    )
    requests = [post("/encode", body, headers=small.headers) for body in small.bodies[:48]]
    requests += [post("/encode", body, headers=workloads["A-npy"].headers) for body in small.bodies[48:64]]
    requests += [post("/encode", body, headers=large.headers) for body in large.bodies[:12]]
    requests += [post("/encode", image((1280, 960), "JPEG"), headers=jpeg)]
    requests += [post("/encode", image(size, "PNG"), headers=png) for size in ((32, 32), (200, 300))]
    requests += [post("/encode", npy(array[:count]), headers=raw.headers) for count in (2, 9, 64)]
    requests += [post("/decode", body, headers=to_json) for body in tokens]
    requests += [
        post("/encode", small.bodies[0][:-200], headers=jpeg),
        post("/encode", b"no image", headers=jpeg),
        post("/encode", small.bodies[0], headers={"Content-Type": "text/plain"}),
        post("/decode", b'{"tokens": [[[99999]]]}', headers=to_json),
        post("/decode", b'{"tokens": ', headers=to_json),
    ]
    random.Random(SEED).shuffle(requests)
    return requests


def _measure_capacity(requests: list[bytes], *, port: int) -> tuple[float, list[Reply]]:
    """Requests a second of the mixture in a closed loop, and the replies to one cycle of it."""
    cycles = 10
    asyncio.run(send_all(requests, port=port, concurrency=CONNECTIONS))
    started = time.perf_counter()
    replies = asyncio.run(send_all(requests * cycles, port=port, concurrency=CONNECTIONS))
    elapsed = time.perf_counter() - started
    return len(replies) / elapsed, replies[: len(requests)]


def _leave_early(requests: list[bytes], port: int, leaving: threading.Event) -> None:
    """Until `leaving`, be clients that go away: with half a request sent, or before the reply."""
    chance = random.Random(SEED)
    while not leaving.wait(1 / LEAVERS_PER_S):
        request = chance.choice(requests)
        with socket.create_connection((HOST, port), timeout=10) as client:
            client.sendall(request[: len(request) // chance.choice((1, 2))])
            leaving.wait(chance.choice((0.0, 0.005)))


def _judge(samples: list[Sample]) -> list[tuple[str, bool]]:
    first, second = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    rss = np.array([sample.rss_mib for sample in second])
    growth = np.polyfit(np.arange(len(rss)), rss, deg=1)[0] * (len(rss) - 1) / rss.mean()
    earlier_p99, later_p99 = (median(sample.p99_ms for sample in half) for half in (first, second))
    num_wrong = sum(sample.num_wrong for sample in samples)
    return [
        (
            f"memory is flat: over the second half a line through it rises by {growth:.2%}, less than "
            f"{MOST_GROWTH:.0%}, of {rss.mean():.0f} MiB",
            bool(growth < MOST_GROWTH),
        ),
        *(
            (
                f"no more {what} in the second half, {median(later):g} on the median, than in the first, "
                f"{median(earlier):g}",
                median(later) <= median(earlier),
            )
            for what, earlier, later in (
                ("files", [s.num_files for s in first], [s.num_files for s in second]),
                ("threads", [s.num_threads for s in first], [s.num_threads for s in second]),
            )
        ),
        (
            f"p99 of a window is {later_p99:.1f} ms on the median in the second half, at most "
            f"{MOST_SLOWING:.0%} more than in the first, {earlier_p99:.1f} ms",
            later_p99 <= (1 + MOST_SLOWING) * earlier_p99,
        ),
        (f"every answer is right, or the refusal that it must be: {num_wrong} are not", num_wrong == 0),
    ]


def _row(number: int, sample: Sample) -> str:
    return (
        f"| {(number + 1) * WINDOW_S:.0f} | {sample.rss_mib:.1f} | {sample.num_files} | {sample.num_threads} "
        f"| {sample.p99_ms:.1f} | {sample.statuses} |"
    )


if __name__ == "__main__":
    sys.exit(main())
