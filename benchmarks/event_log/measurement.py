"""One measurement of an event log, inside a tool's own environment; prints one line of JSON.

A peer is a subclass of `Peer`. All measurements are taken here, the same for all peers: appends one at a time from tasks (or
threads, for a tool that blocks), batches, catching up, the delay from an append to a callback, and an idle reader. Events
are created before the measurement starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TYPE = "orders.Filled"
FIRST = 100_000_000  # numbers of one length
MADE = 5_000
WARM_S = 0.3
SETTLE_S = 1.0
LATE_S = 5.0


class Peer:
    """The operations of a tool. Those of a `threaded` tool block: they are plain functions, called from threads."""

    threaded = False

    def __init__(self, url: str, writers: int) -> None:
        self.url, self.writers = url, writers
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, with one connection per writer or as the tool recommends."""

    async def install(self) -> None:
        """Create the tool's tables in an empty database."""

    def make(self, number: int) -> Any:
        """Return an event that is ready to be appended; its JSON has 300 bytes."""
        return event_json(number)

    async def writer(self, stack: AsyncExitStack) -> Callable[[Any], Awaitable[Any] | Any]:
        """Append one event, durable on return."""
        raise NotImplementedError

    async def batch_writer(self, stack: AsyncExitStack) -> Callable[[Sequence[Any]], Awaitable[Any] | Any]:
        """Append many events, all or none."""
        raise NotImplementedError

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Call `heard` with the number of each new event until cancelled."""
        raise NotImplementedError

    async def catch_up(self, count: int) -> int:
        """Read and decode `count` events from the beginning; return the sum of their numbers."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sizes:
    """Seconds of appending, events per batch, stored events, events per second, seconds of latency and of quiet."""

    append_s: float
    batch: int
    stored: int
    rate: int
    latency_s: float
    quiet_s: float


def event_json(number: int) -> str:
    """Return the envelope of a fill, 300 bytes of JSON, byte for byte as Weaver writes it."""
    number += FIRST
    payload = {
        "number": number,
        "symbol": "BTCUSDT",
        "side": "buy",
        "quantity": 0.125,
        "price": 50123.5,
        "commission": 6.25,
        "ts_ns": 0,
        "trade_id": "tt",
    }
    event = {
        "id": f"e{number}",
        "type": TYPE,
        "version": 1,
        "run_id": "run-7",
        "corr_id": f"e{number}",
        "causation_id": None,
        "ts": "2026-01-05T09:30:00Z",
        "producer": "live",
        "payload": payload,
    }
    return json.dumps(event, separators=(",", ":"))


def number_of(event: dict[str, Any]) -> int:
    """Return the number that was passed to `event_json`."""
    return event["payload"]["number"] - FIRST


def parts(url: str) -> dict[str, str]:
    """Return the parts of a PostgreSQL URL: host (or the folder of a socket), port, user, password, dbname."""
    split = urlsplit(url)
    asked = {name: values[0] for name, values in parse_qs(split.query).items()}
    return {
        "host": split.hostname or asked.get("host", "localhost"),
        "port": str(split.port or asked.get("port", 5432)),
        "user": unquote(split.username or "postgres"),
        "password": unquote(split.password or asked.get("password", "none")),
        "dbname": split.path.lstrip("/"),
    }


async def appends(peer: Peer, seconds: float) -> dict[str, float]:
    """Return events per second, appended one at a time by each writer."""
    events = [peer.make(number) for number in range(MADE)]
    async with AsyncExitStack() as stack:
        writers = [await peer.writer(stack) for _ in range(peer.writers)]

        async def one(place: int, append: Callable[[Any], Awaitable[Any]], until: float) -> int:
            done = 0
            while time.perf_counter() < until:
                await append(events[(place * 311 + done) % MADE])
                done += 1
            return done

        def one_blocking(place: int, append: Callable[[Any], Any], until: float) -> int:
            done = 0
            while time.perf_counter() < until:
                append(events[(place * 311 + done) % MADE])
                done += 1
            return done

        async def all_for(seconds: float) -> int:
            until = time.perf_counter() + seconds
            if not peer.threaded:
                return sum(await asyncio.gather(*(one(i, each, until) for i, each in enumerate(writers))))
            done: list[int] = []
            threads = [
                threading.Thread(target=lambda i=i, each=each: done.append(one_blocking(i, each, until)))
                for i, each in enumerate(writers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if len(done) < len(threads):
                raise SystemExit("a writer failed")
            return sum(done)

        await all_for(WARM_S)
        return await timed(all_for(seconds))


async def batches(peer: Peer, seconds: float, size: int) -> dict[str, float]:
    """Return events per second, appended in batches by one task."""
    events = [[peer.make(number) for number in range(first, first + size)] for first in range(0, 5 * size, size)]
    async with AsyncExitStack() as stack:
        append = await peer.batch_writer(stack)

        async def all_for(seconds: float) -> int:
            until, done = time.perf_counter() + seconds, 0
            while time.perf_counter() < until:
                result = append(events[done % len(events)])
                if not peer.threaded:
                    await result
                done += 1
            return done * size

        await all_for(WARM_S)
        return await timed(all_for(seconds))


async def timed(work: Awaitable[int]) -> dict[str, float]:
    """Return events per second of wall time, the CPU seconds of this process, and the number of events."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = await work
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_s": done / wall, "cpu_s": cpu, "events": done}


async def fill(peer: Peer, count: int, size: int) -> dict[str, float]:
    """Store the events of catch-up."""
    async with AsyncExitStack() as stack:
        append = await peer.batch_writer(stack)
        for first in range(0, count, size):
            result = append([peer.make(number) for number in range(first, min(first + size, count))])
            if not peer.threaded:
                await result
    return {"events": count}


async def catching_up(peer: Peer, count: int) -> dict[str, float]:
    """Return events per second of a reader that begins at the first of `count` events."""
    wall, cpu = time.perf_counter(), time.process_time()
    total = await peer.catch_up(count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if total != count * (count - 1) // 2:
        raise SystemExit(f"the events that were read are not the {count:,} that were written")
    return {"per_s": count / wall, "cpu_s": cpu, "events": count}


async def latency(peer: Peer, sizes: Sizes) -> dict[str, float]:
    """Return milliseconds from the append to the callback; the first second is not counted.

    The append happens in another process, or in this one where the last argument is `inside`.
    """
    heard: dict[int, int] = {}

    def note(number: int) -> None:
        heard.setdefault(number, time.perf_counter_ns())

    listening = asyncio.create_task(peer.listen(note))
    await asyncio.sleep(SETTLE_S)
    sent = await (send(peer, sizes) if "inside" in sys.argv else send_from_another_process())
    until = time.perf_counter() + LATE_S
    # Some callbacks come from a thread, which could set no event of asyncio's.
    while len(heard) < len(sent) and time.perf_counter() < until and not listening.done():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    if listening.done():
        await listening  # raises what ended it
    counted = range(min(sizes.rate, len(sent) // 2), len(sent))
    waits = sorted((heard[number] - sent[number]) / 1e6 for number in counted if number in heard)
    if not waits:
        raise SystemExit("not one event arrived")
    return {
        "p50_ms": waits[len(waits) // 2],
        "p99_ms": waits[min(len(waits) - 1, len(waits) * 99 // 100)],
        "most_ms": waits[-1],
        "arrived": len(waits) / len(counted),
    }


async def send_from_another_process() -> list[int]:
    """Return the result of `send`; both processes read the same monotonic clock."""
    command = [sys.executable, sys.argv[0], "send", *sys.argv[2:]]
    sender = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await sender.communicate()
    if sender.returncode:
        raise SystemExit("the sender failed")
    return json.loads(out.splitlines()[-1])


async def send(peer: Peer, sizes: Sizes) -> list[int]:
    """Append at a steady rate; record when each event was due, so that waiting for a free writer counts."""
    count = int(sizes.rate * sizes.latency_s)
    events = [peer.make(number) for number in range(count)]
    due: list[int] = []
    async with AsyncExitStack() as stack:
        writers = [await peer.writer(stack) for _ in range(peer.writers)]
        waiting: Any = queue.SimpleQueue() if peer.threaded else asyncio.Queue()

        async def work(append: Callable[[Any], Awaitable[Any]]) -> None:
            while (number := await waiting.get()) is not None:
                await append(events[number])

        def work_blocking(append: Callable[[Any], Any]) -> None:
            while (number := waiting.get()) is not None:
                append(events[number])

        if peer.threaded:
            tasks = [asyncio.create_task(asyncio.to_thread(work_blocking, each)) for each in writers]
        else:
            tasks = [asyncio.create_task(work(each)) for each in writers]
        began = time.perf_counter_ns()
        while len(due) < count:
            now = time.perf_counter_ns()
            while len(due) < count and began + len(due) * 1_000_000_000 // sizes.rate <= now:
                due.append(now)
                (waiting.put if peer.threaded else waiting.put_nowait)(len(due) - 1)
            await asyncio.sleep(0.0005)
        for _ in writers:
            (waiting.put if peer.threaded else waiting.put_nowait)(None)
        await asyncio.gather(*tasks)
    return due


async def quiet(peer: Peer, seconds: float) -> dict[str, float]:
    """Return the CPU time of a reader's process while nothing is appended."""
    listening = asyncio.create_task(peer.listen(lambda number: None))
    await asyncio.sleep(SETTLE_S)
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    if listening.done():
        await listening  # raises what ended it
    return {"cpu_s": cpu, "of_s": seconds}


def leave(result: dict[str, float]) -> None:
    """Print, and end this process at once; otherwise a worker would first process the remaining jobs, for minutes."""
    print(json.dumps(result), flush=True)
    os._exit(0)


async def _measure(peer: Peer, workload: str, sizes: Sizes) -> Any:
    if workload not in ("send", "catch-up"):
        await peer.install()
    await peer.open()
    async with peer.stack:
        match workload:
            case "append-1" | "append-16":
                return await appends(peer, sizes.append_s)
            case "batches":
                return await batches(peer, sizes.append_s, sizes.batch)
            case "fill":
                return await fill(peer, sizes.stored, sizes.batch)
            case "catch-up":
                return await catching_up(peer, sizes.stored)
            case "latency":
                leave(await latency(peer, sizes))
            case "send":
                return await send(peer, sizes)
            case "quiet":
                leave(await quiet(peer, sizes.quiet_s))
            case _:
                raise SystemExit(f"no workload {workload!r}")


def measure(kind: type[Peer]) -> None:
    """Measure and print; the arguments are WORKLOAD URL SIZES."""
    workload, url, sizes = sys.argv[1], sys.argv[2], Sizes(**json.loads(sys.argv[3]))
    peer = kind(url, 16 if workload in ("append-16", "send") or "inside" in sys.argv else 1)
    print(json.dumps(asyncio.run(_measure(peer, workload, sizes))))
