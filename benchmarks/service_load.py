"""How fast the service answers who asks how things are: an open loop of requests, at a fixed rate.

    python benchmarks/service_load.py --rate 200 --seconds 20 --busy 2

It starts a service of its own with finished searches and one under way, whose record grows by an
epoch in every 0.5 s; processes that keep cores busy, in place of trials, at the niceness of a job's
process; and asks from another process, turn by turn for the list of jobs and for one job. A request
is sent when it is due, whether or not earlier ones were answered, and its latency counts from when
it was due: so a server that stalls is charged for all who would have waited. Prints JSON. Beside
the latencies, which mean little on a machine that does anything else, it tells the processor time
that the service took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click
import psutil

WARM_UP_S = 2.0
NICENESS = 10
"""Of a job's process (`tuner.service.job`)."""
BUSY = (
    f"import os\nos.nice({NICENESS})\nx = 1\nwhile True:\n    x = (x * 1103515245 + 12345) % 2**31"
)


def serve(folder: Path, finished: int, epochs: int) -> None:
    """Print address and token, and serve until standard input ends."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import uvicorn

    from tests.tuner.service.serving import CURVES, Serving
    from tests.tuner.simulation import row
    from tuner.record import Record
    from tuner.service.listening import bound

    serving = Serving(folder)
    for number in range(finished):
        serving.add_job(f"done-{number}", state="finished")
    serving.add_job("live", curves=[*CURVES, ({"T": 5}, [0.1], "running")])

    def grow() -> None:
        with Record.open(serving.settings.run_folder("live"), write=True) as record:
            record.set_run("running")
            for epoch in range(2, epochs):
                record.add_epoch(4, row(epoch, 0.3, 0.3, epoch))
                time.sleep(0.5)

    threading.Thread(target=grow, daemon=True).start()
    listening = bound("127.0.0.1", 0)
    click.echo(f"{listening.getsockname()[1]} {serving.tokens['alice']}")
    server = uvicorn.Server(uvicorn.Config(serving.app, log_config=None, access_log=False))

    def end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run(sockets=[listening])


async def ask(port: int, token: str, rate: float, seconds: float) -> dict[str, Any]:
    """Return latencies of requests that are due at a steady rate, over kept connections."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies_s: list[float] = []
    errors = 0

    async def connection() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while idle:
            kept = idle.pop()
            if not kept[0].at_eof():  # the server closes what has been idle for a while
                return kept
            kept[1].close()
        return await asyncio.open_connection("127.0.0.1", port)

    async def one(path: str, due_s: float, counted: bool) -> None:
        nonlocal errors
        try:
            reader, writer = await connection()
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = dict(
                line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line
            )
            await reader.readexactly(int(fields[b"content-length"]))
            idle.append((reader, writer))
            good = answer.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.IncompleteReadError):
            good = False
        if counted:
            errors += not good
            latencies_s.append(time.monotonic() - due_s)

    began_s, tasks = time.monotonic(), []
    for number in range(int(rate * (WARM_UP_S + seconds))):
        due_s = began_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        path = "/api/v1/jobs" if number % 2 else "/api/v1/jobs/live"
        tasks.append(asyncio.create_task(one(path, due_s, due_s >= began_s + WARM_UP_S)))
    await asyncio.gather(*tasks)
    latencies_s.sort()

    def at(share: float) -> float:
        return round(1000 * latencies_s[int(share * (len(latencies_s) - 1))], 1)

    return {
        "requests": len(latencies_s), "errors": errors, "p50_ms": at(0.5), "p90_ms": at(0.9),
        "p99_ms": at(0.99), "longest_ms": at(1.0),
    }  # fmt: skip


def measured(rate: float, seconds: float, busy: int, finished: int) -> dict[str, Any]:
    """Start all processes, measure, end them, and return what was found."""
    here = [sys.executable, __file__]
    epochs = str(int(2 * (seconds + 60)))
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen(
            [*here, "--serve", folder, "--finished", str(finished), "--epochs", epochs],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert service.stdin is not None and service.stdout is not None
        burning: list[subprocess.Popen[bytes]] = []
        try:
            port, token = service.stdout.readline().split()
            burning = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
            asked = [*here, "--ask", port, token, "--rate", str(rate), "--seconds", str(seconds)]
            load, process = os.getloadavg()[0], psutil.Process(service.pid)
            before = process.cpu_times()
            found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            used = process.cpu_times()
            cpu_s = used.user + used.system - before.user - before.system
            cpu_ms = round(1000 * cpu_s / (rate * (WARM_UP_S + seconds)), 2)
            return {
                "rate_per_s": rate, "busy_processes": busy, "jobs": finished + 1,
                **json.loads(found), "service_cpu_ms_per_request": cpu_ms,
                "cores": os.cpu_count(), "machine": platform.machine(),
                "python": platform.python_version(), "load_before": round(load, 2),
            }  # fmt: skip
        finally:
            for process in burning:
                process.kill()
                process.wait()
            service.stdin.close()
            service.wait(60)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--busy", type=int, default=2, help="processes that burn a core each")
    parser.add_argument("--finished", type=int, default=20, help="searches that have ended")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=200, help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.finished, options.epochs)
    elif options.ask is not None:
        port, token = options.ask
        click.echo(json.dumps(asyncio.run(ask(int(port), token, options.rate, options.seconds))))
    else:
        found = measured(options.rate, options.seconds, options.busy, options.finished)
        click.echo(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
