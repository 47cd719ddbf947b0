"""`weaver events`: follows, shows and prunes the event log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.output import echo, echo_text, json_text, table
from weaver.cli.store import sure, with_store
from weaver.core.errors import ConfigError
from weaver.core.text import brief

if TYPE_CHECKING:
    from weaver.events.envelope import Envelope, StoredEvent
    from weaver.glados.wiring import OpenStore

__all__ = ["events"]

_MOST_TEXT = 120
_MOST_ROWS = 12
_AT_ONCE = 2000


@click.group(short_help="Follow, show and prune the event log.")
def events() -> None:
    """Follow, show and prune the event log, in the order in which events were committed."""


@events.command("tail")
@click.option("--from", "from_offset", type=int, metavar="N", help="Print all events after this offset; -1 prints all.")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Number of most recent events.",
)
@click.option(
    "--type", "types", multiple=True, metavar="NAME", help="Print this type only, or a group such as 'orders.*'."
)
@click.option("--run", "run_id", metavar="ID", help="Print events of this run only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line: offset and envelope.")
@click.option("--follow", "-f", is_flag=True, help="Continue with new events until Ctrl-C.")
def tail(
    from_offset: int | None, lines: int, types: tuple[str, ...], run_id: str | None, as_json: bool, follow: bool
) -> None:
    """Print the most recent events, or those after an offset."""
    from weaver.events.log import EventFilter, check_offset
    from weaver.walle.log.event_queries import EventQueries

    EventFilter(types or None)
    if from_offset is not None:
        check_offset(from_offset)

    def show(batch: list[StoredEvent]) -> None:
        for stored in batch:
            echo(_json_line(stored) if as_json else _line(stored))

    async def work(store: OpenStore) -> None:
        run = None if run_id is None else await _run_named(store, run_id)
        wanted = EventFilter(types or None, run)
        latest = await store.log.latest_offset()
        at = latest if from_offset is None else from_offset
        if from_offset is None:
            show(await EventQueries(store.database).last(lines, wanted))
        if follow:
            async for batch in store.log.batches(types=types or None, run_id=run, from_offset=at):
                show(batch)
        while at < latest and (found := await store.log.read_from(at, _AT_ONCE)):
            at = found[-1].offset
            show([stored for stored in found if wanted.takes(stored.envelope)])

    try:
        with_store(work)
    except KeyboardInterrupt:
        if not follow:
            raise
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None  # how following ends: nothing went wrong


async def _run_named(store: OpenStore, name: str) -> str:
    """Return the whole id of a run from a part of it; what no run answers to is taken as it is."""
    found = await store.runs.newest(limit=1) if name == "last" else await store.runs.find(name)
    if len(found) == 1:
        return found[0].id
    several = "several runs answer" if found else "no recorded run answers"
    echo(f"{several} to {brief(name)}; these are the events of the run of exactly that name", err=True)
    return name


@events.command("show")
@click.argument("event", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the event alone, as JSON.")
def show(event: str, as_json: bool) -> None:
    """Show one event, by its offset or id, with the chain of its causes and effects."""
    from weaver.walle.log.event_queries import EventQueries

    async def work(store: OpenStore) -> tuple[StoredEvent | None, list[StoredEvent]]:
        inquiry = EventQueries(store.database)
        found = await inquiry.find(event)
        return found, [] if found is None or as_json else await inquiry.chain(found)

    found, chain = with_store(work)
    if found is None:
        raise Stopped(
            f"there is no event {brief(event)} in the log; weaver events tail prints the most recent ones",
            ExitCode.USAGE,
        )
    if as_json:
        echo(_json_line(found))
        return
    one = found.envelope
    for name in ("id", "type", "version", "run_id", "corr_id", "causation_id", "ts_text", "producer"):
        echo(f"{name.removesuffix('_text'):<13}{getattr(one, name)}")
    echo(f"{'offset':<13}{found.offset}")
    for line in _payload_lines(one.payload):
        echo(line)
    echo()
    for line in _tree(chain, found):
        echo(line)


@events.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(as_json: bool) -> None:
    """Print the number of events by type, and the position of each consumer."""
    from weaver.core.durations import duration_text
    from weaver.core.instants import NS_PER_SECOND
    from weaver.walle.log.event_queries import EventQueries

    async def work(store: OpenStore) -> tuple[Any, Any, Any]:
        types = await EventQueries(store.database).types()
        return await store.log.health(), types, await store.consumer_store.dead_letters()

    health, types, letters = with_store(work)
    if as_json:
        echo(json_text({"log": health, "types": types, "dead_letters": letters}))
        return
    if not types:
        echo("the log is empty; weaver backtest writes to it")
        return
    echo_text(
        table([[row.type, f"{row.count:,}", row.first, row.last] for row in types], ["type", "events", "first", "last"])
    )
    age = "" if health.age_s is None else f", {duration_text(int(health.age_s * NS_PER_SECOND), units=2)} ago"
    echo()
    echo(f"newest: offset {health.latest_offset}{age}")
    parked = {name: sum(letter.consumer_id == name for letter in letters) for name in health.lag}
    if health.lag:
        rows = [[name, f"{lag:,}", parked[name]] for name, lag in health.lag.items()]
        echo()
        echo_text(table(rows, ["consumer", "lag", "put aside"]))
    else:
        echo("no consumer has noted an offset")


@events.command("prune")
@click.option("--older-than", required=True, metavar="AGE", help="Age, such as 90d, 12h or 4w.")
@click.option("--force", is_flag=True, help="Also delete events that a consumer has not processed yet.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def prune(older_than: str, force: bool, yes: bool) -> None:
    """Delete old events. The newest event stays, and so do events that a consumer has not processed yet."""
    from weaver.core.durations import parse_duration
    from weaver.core.instants import from_ns
    from weaver.glados.clock.system import SystemClock
    from weaver.walle.log.prune import Pruned
    from weaver.walle.log.prune import prune as remove

    try:
        before = from_ns(max(0, SystemClock().now_ns() - parse_duration(older_than)))  # no event is older than 1970
    except ConfigError as error:
        raise Stopped(f"--older-than {error}", ExitCode.USAGE) from None
    if not yes:
        sure(f"remove all events from before {before:%Y-%m-%d %H:%M} UTC for good?")

    async def work(store: OpenStore) -> Pruned:
        return await remove(store.database, before, force=force, progress=tell)

    told = [0]

    def tell(gone: int) -> None:
        if gone - told[0] >= 100_000:
            told[0] = gone
            echo(f"{gone:,} events removed ...", err=True)

    done = with_store(work)
    echo(f"removed: {done.events:,} events from before {before:%Y-%m-%d %H:%M} UTC")
    if done.held_by is not None:
        echo(
            f"kept: what is after offset {done.held_at}, where consumer {brief(done.held_by)} stands (--force removes it)"
        )


def _line(stored: StoredEvent) -> str:
    one = stored.envelope
    run = (one.run_id or "-").rpartition("-")[2]
    return f"{stored.offset:>8}  {_instant(one)}  {run:<8}  {one.type:<18}  {_summary(one.payload)}"


def _instant(event: Envelope[Any]) -> str:
    """Return the instant to the second; a row that was inserted by hand may hold one that is not an instant."""
    try:
        return f"{event.ts:%Y-%m-%d %H:%M:%S}"
    except (ConfigError, ValueError):
        return f"{event.ts_text[:19]:<19}"


def _summary(payload: Any) -> str:
    """Return the payload in a line: short values as they are, long ones by their length."""
    import msgspec

    from weaver.events.envelope import UnknownPayload

    if isinstance(payload, UnknownPayload):
        return payload.json.decode()[:_MOST_TEXT]
    parts = []
    for name, value in msgspec.structs.asdict(payload).items():
        if value is None or value == "" or value == []:
            continue
        if isinstance(value, list):
            parts.append(f"{len(value):,} {name}")
        elif isinstance(value, dict):
            parts.append(f"{name}: {len(value)} values")
        else:
            parts.append(f"{name}={value:,.6g}" if isinstance(value, float) else f"{name}={value}".splitlines()[0])
    text = ", ".join(parts)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _json_line(stored: StoredEvent) -> str:
    import msgspec

    from weaver.events.envelope import UnknownPayload

    body = msgspec.to_builtins(stored.envelope)
    if isinstance(stored.envelope.payload, UnknownPayload):
        body["payload"] = msgspec.json.decode(stored.envelope.payload.json)
    return json_text({"offset": stored.offset, **body})


def _payload_lines(payload: Any) -> list[str]:
    """Return the payload, one field per line; long lists and texts are cut."""
    import msgspec

    from weaver.events.envelope import UnknownPayload

    if isinstance(payload, UnknownPayload):
        reason = payload.reason or "no class is registered for this type and version"
        return [f"payload      (raw: {reason})", f"{'':<13}{payload.json.decode()}"]
    lines = []
    for name, value in msgspec.structs.asdict(payload).items():
        whole = value.splitlines() if isinstance(value, str) else value
        if isinstance(whole, list) and len(whole) != 1:
            shown = [each if isinstance(each, str) else json_text(each) for each in whole[:_MOST_ROWS]]
            lines += [f"{name:<13}{len(whole):,}", *(f"{'':<13}{each}" for each in shown)]
            if len(whole) > _MOST_ROWS:
                lines.append(f"{'':<13}... {len(whole) - _MOST_ROWS:,} more (--json has them)")
        elif isinstance(value, dict):
            lines += [f"{name:<13}", *(f"{'':<13}{key}: {json_text(each)}" for key, each in value.items())]
        else:
            lines.append(f"{name:<13}{value}")
    return lines


def _tree(chain: list[StoredEvent], shown: StoredEvent) -> list[str]:
    """Causes above their effects, an arrow at the one that was asked for."""
    by_id = {one.envelope.id: one for one in chain}
    below: dict[str | None, list[StoredEvent]] = {}
    for one in chain:
        cause = one.envelope.causation_id
        below.setdefault(cause if cause in by_id else None, []).append(one)
    lines: list[str] = []

    def draw(one: StoredEvent, lead: str, branch: str, follow: str) -> None:
        here = "  <--" if one.offset == shown.offset else ""
        lines.append(f"{lead}{branch}{one.offset} {one.envelope.type}  {_summary(one.envelope.payload)[:60]}{here}")
        children = below.get(one.envelope.id, [])
        for index, child in enumerate(children):
            last = index == len(children) - 1
            draw(child, lead + follow, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in below.get(None, []):
        draw(root, "", "", "")
    return lines
