"""The closed loop: wrk sends the next request over a connection as soon as the last one is answered."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .client import HOST
from .workloads import Workload

# wrk calls `request` for each request and `done` at the end.
_SCRIPT = """
local requests, current = {}, 0
function init(arguments)
  for number = 1, %(num_bodies)d do
    local file = assert(io.open(string.format("%(folder)s/%%d", number), "rb"))
    local headers = {["Content-Type"] = "%(content_type)s", ["Accept"] = "%(accept)s"}
    requests[number] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end
function request()
  current = current %% #requests + 1
  return requests[current]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"num_requests": %%d, "seconds": %%f, "num_not_2xx": %%d, "num_broken": %%d, ' ..
    '"p50_ms": %%f, "p99_ms": %%f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedLoopResult:
    """What one closed loop measured."""

    num_requests: int
    seconds: float
    num_not_2xx: int
    """Replies of a status of 400 or more, which are no answers."""
    num_broken: int
    """Connections that failed, and requests without a reply in time."""
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    """CPU time of the generator itself."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.num_requests / self.seconds


def closed_loop(workload: Workload, *, port: int, path: str, seconds: float) -> ClosedLoopResult:
    """Send the requests of `workload` to `path` for `seconds`, over as many connections as it asks for."""
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(workload.bodies, start=1):
            Path(folder, str(number)).write_bytes(body)
        script = Path(folder, "requests.lua")
        script.write_text(
            _SCRIPT
            % {
                "folder": folder,
                "num_bodies": len(workload.bodies),
                "content_type": workload.content_type,
                "accept": workload.accept,
            }
        )
        # One thread: on few cores the generator takes its time from the server.
        command = ["wrk", "--threads", "1", "--connections", str(workload.concurrency)]
        command += ["--duration", f"{seconds:.0f}s", "--timeout", f"{_TIMEOUT_S}s", "--script", str(script)]
        with subprocess.Popen(
            [*command, f"http://{HOST}:{port}{path}"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            output = process.stdout.read()
            # wait4 and not wait: it tells what this one process cost.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"wrk ended with status {process.returncode}: {output}")
    fields = json.loads(output.partition("RESULT ")[2])
    cpu_us = (usage.ru_utime + usage.ru_stime) * 1e6
    return ClosedLoopResult(**fields, cpu_us_per_request=cpu_us / max(1, fields["num_requests"]))
