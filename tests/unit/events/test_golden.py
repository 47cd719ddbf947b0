"""Golden files: how an event of each type and version is stored, one file each, kept for ever.

A golden file is never changed and never removed, because logs hold such events. For a new event type
`python tests/unit/events/test_golden.py` writes the missing file with sample values, and touches no other; edit the values
as you like before you commit it. Nothing in this module needs to change.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from weaver.events.envelope import Envelope, decode, encode, envelope
from weaver.events.registry import registered
from weaver.events.types.orders import OrderCancelled, OrderFilled, OrderPlaced, OrderRejected, OrdersRecorded
from weaver.events.types.run import RunCompleted, RunCreated, RunError, RunStarted, RunStopped

pytestmark = pytest.mark.log

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


def event_of(kind: tuple[str, int], payload: msgspec.Struct) -> Envelope:
    """The event of a golden file: the second of a chain, of a run."""
    first = envelope(RunStarted(), ts="2024-01-02T00:00:00Z", producer="backtest", run_id="run-1", id="event-1")
    return envelope(
        payload, ts=1_704_153_600_123_456_789, producer="backtest", run_id="run-1", cause=first, id="event-2"
    )


def sample_of(cls: type[msgspec.Struct]) -> msgspec.Struct:
    """An instance with a value in each required field."""
    values = {"int": 7, "float": 0.5, "str": "text", "bool": True}
    required = {
        field.encode_name: values.get(getattr(field.type, "__name__", ""), [] if "list" in repr(field.type) else {})
        for field in msgspec.structs.fields(cls)
        if field.required
    }
    return msgspec.convert(required, cls)


def file_of(kind: tuple[str, int]) -> Path:
    return FOLDER / f"{kind[0]}.v{kind[1]}.json"


def ours() -> set[tuple[str, int]]:
    """The types that Weaver registers; other tests register payloads of their own."""
    return {kind for kind, cls in registered().items() if cls.__module__.startswith("weaver.events.types.")}


def test_every_registered_class_has_a_golden_file_and_every_file_is_of_a_class() -> None:
    files = {path.name for path in FOLDER.glob("*.json")}
    assert files == {file_of(kind).name for kind in ours()}, "write the missing ones by running this file as a program"
    assert set(KNOWN) <= ours(), "a class that was registered once stays registered"


@pytest.mark.parametrize("kind", sorted(ours()), ids=lambda kind: f"{kind[0]}.v{kind[1]}")
def test_a_stored_event_is_read_as_ever_and_written_as_ever(kind: tuple[str, int]) -> None:
    golden = file_of(kind).read_bytes()
    event = decode(golden)
    assert type(event.payload) is registered()[kind]
    assert encode(event) + b"\n" == golden


@pytest.mark.parametrize("kind", sorted(KNOWN), ids=lambda kind: f"{kind[0]}.v{kind[1]}")
def test_each_field_of_a_stored_event_has_the_value_that_it_was_written_with(kind: tuple[str, int]) -> None:
    assert decode(file_of(kind).read_bytes()) == event_of(kind, KNOWN[kind])


@pytest.mark.parametrize("kind", sorted(ours()), ids=lambda kind: f"{kind[0]}.v{kind[1]}")
def test_a_stored_event_with_a_field_that_this_version_does_not_know_is_read_all_the_same(
    kind: tuple[str, int],
) -> None:
    golden = file_of(kind).read_bytes()
    fields = msgspec.json.decode(golden)
    fields["payload"]["later"] = fields["later"] = 1
    assert decode(msgspec.json.encode(fields)) == decode(golden)


if __name__ == "__main__":
    for kind in sorted(ours()):
        if not file_of(kind).exists():
            file_of(kind).write_bytes(encode(event_of(kind, sample_of(registered()[kind]))) + b"\n")
