"""Golden files: what an event looks like in the log, one file a version, kept for ever.

A file that is here is never changed and never removed: logs hold such events. `python tests/unit/events/test_golden.py`
writes the files that are missing, and touches no other.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from weaver.events.envelope import Envelope, UnknownPayload, decode, encode, envelope
from weaver.events.registry import registered
from weaver.events.types.orders import OrderCancelled, OrderFilled, OrderPlaced, OrderRejected, OrdersRecorded
from weaver.events.types.run import RunCompleted, RunCreated, RunError, RunStarted, RunStopped

FOLDER = Path(__file__).parents[2] / "golden" / "events"

KNOWN: dict[tuple[str, int], msgspec.Struct] = {
    ("orders.Placed", 1): OrderPlaced(
        number=7,
        client_order_id="0b5mzcq3m2t1v8k4h6n7p9r0sd",
        symbol="BRK.B",
        side="sell",
        quantity=0.1,
        kind="stop_limit",
        limit=101.25,
        stop=101.5,
        tif="day",
        tag='stop-loss of "7" – ünïcode 🦜',
    ),
    ("orders.Filled", 1): OrderFilled(
        number=7,
        symbol="BTC/USDT",
        side="buy",
        quantity=1e-8,
        price=65432.1,
        commission=0.0,
        ts_ns=1_704_153_600_000_000_001,
        trade_id="t-1",
    ),
    ("orders.Cancelled", 1): OrderCancelled(number=7, reason="end_of_data"),
    ("orders.Rejected", 1): OrderRejected(number=7, reason="12.5 of cash, 100 needed"),
    ("orders.Recorded", 1): OrdersRecorded(
        fills=[(1, "AAPL", "buy", 1_704_153_600_000_000_000, 10.0, 185.5, 1.855, None)],
        orders=[
            (1, "AAPL", "buy", "market", 10.0, "filled", None, "entry", 1_704_067_200_000_000_000, None, 10.0, 185.5),
            (2, "AAPL", "sell", "limit", 5.0, "expired", "end_of_data", None, 0, 1_704_153_600_000_000_000, 0.0, None),
        ],
    ),
    ("run.Created", 1): RunCreated(
        config={"strategy": "sma", "parameters": {"fast": 10, "slow": 30.5}}, weaver="0.3.0"
    ),
    ("run.Started", 1): RunStarted(bars=100_000),
    ("run.Completed", 1): RunCompleted(
        bars=100_000, orders=12, fills=11, elapsed_s=0.25, stats={"total_return": 0.125, "sharpe": None, "trades": 5}
    ),
    ("run.Stopped", 1): RunStopped(reason="stopped by its user", bars=10, orders=1, fills=0),
    ("run.Error", 1): RunError(error="KeyError", message="'AAPL'", traceback='File "s.py", line 3\n  x', bars=9),
}


def event_of(kind: tuple[str, int]) -> Envelope:
    """The event that the golden file of `kind` holds: the second of a chain, of a run."""
    first = envelope(RunStarted(), ts="2024-01-02T00:00:00Z", producer="backtest", run_id="run-1", id="event-1")
    return envelope(
        KNOWN[kind], ts=1_704_153_600_123_456_789, producer="backtest", run_id="run-1", cause=first, id="event-2"
    )


def file_of(kind: tuple[str, int]) -> Path:
    return FOLDER / f"{kind[0]}.v{kind[1]}.json"


def ours() -> set[tuple[str, int]]:
    """What Weaver itself registers; other tests register payloads of their own."""
    return {kind for kind, cls in registered().items() if cls.__module__.startswith("weaver.events.types.")}


def test_every_registered_class_has_a_golden_file_and_every_file_is_of_a_class() -> None:
    assert ours() == set(KNOWN), "a new event type needs an instance in KNOWN"
    files = {path.name for path in FOLDER.glob("*.json")}
    assert files == {file_of(kind).name for kind in ours()}, "write the missing ones by running this file as a program"


@pytest.mark.parametrize("kind", sorted(KNOWN), ids=lambda kind: f"{kind[0]}.v{kind[1]}")
def test_an_event_is_written_as_ever_and_what_was_written_is_read_as_ever(kind: tuple[str, int]) -> None:
    golden = file_of(kind).read_bytes()
    assert encode(event_of(kind)) + b"\n" == golden
    read = decode(golden)
    assert read == event_of(kind)
    assert not isinstance(read.payload, UnknownPayload)
    assert type(read.payload) is type(KNOWN[kind])


@pytest.mark.parametrize("kind", sorted(KNOWN), ids=lambda kind: f"{kind[0]}.v{kind[1]}")
def test_a_golden_event_with_a_field_that_this_version_does_not_know_is_read_all_the_same(
    kind: tuple[str, int],
) -> None:
    event = msgspec.json.decode(file_of(kind).read_bytes())
    event["payload"]["later"] = event["later"] = 1
    assert decode(msgspec.json.encode(event)) == event_of(kind)


if __name__ == "__main__":
    for kind in sorted(KNOWN):
        if not file_of(kind).exists():
            file_of(kind).write_bytes(encode(event_of(kind)) + b"\n")
