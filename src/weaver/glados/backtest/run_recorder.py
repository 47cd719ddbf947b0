"""RunRecorder: what a backtest leaves in the log and the store, written by a thread, about once a second and at the end.

The only place where a backtest meets the log. Each write is one transaction: the events, and the rows that say the same in
tables. A run whose process is killed has left what it had done up to its last write, and shows as interrupted. A recording
that fails never changes the run: `error` says what went wrong, and what was written before stays.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from weaver.core.definitions import with_definitions
from weaver.core.jsonable import jsonable
from weaver.core.orders import Fill
from weaver.core.run_config import RunConfig, RunMode
from weaver.core.text import storable, storable_values
from weaver.events.envelope import Envelope, envelope
from weaver.events.types.orders import OrdersRecorded
from weaver.events.types.run import RunCompleted, RunCreated, RunError, RunStarted, RunStopped
from weaver.glados.backtest.build_result import order_record
from weaver.glados.backtest.plan import RunPlan
from weaver.marvin.order import Order

if TYPE_CHECKING:
    from weaver.glados.wiring import OpenStore
    from weaver.results.result import Result

__all__ = ["RunRecorder", "config_of"]

PRODUCER = "backtest"
ROWS_OF_AN_EVENT = 2_000
"""Orders or fills in one event, so that it stays well below the largest that the log takes."""

ROWS_WHILE_RUNNING = 2_000
"""Orders and fills that are written in one go while the run is under way, so about as many a second: Python runs one thread
at a time, and a run that trades without a pause must not wait for its own diary. The rest is written when it is over."""

LONGEST_TEXT = 120
"""Characters of a tag or a reason that are kept, so that thousands of them fit into one event."""

LONGEST_MESSAGE = 10_000
"""Characters of an error, its traceback or a parameter that are kept."""

POINTS_OF_EQUITY = 500
"""Points of the equity curve in the result's row; the whole curve lies in its file."""

_order_row = attrgetter("number", "symbol", "side", "kind", "quantity", "status", "reason", "tag", "submitted_ns", "done_ns",
              "filled_quantity", "average_price")  # fmt: skip


OpenStoreLater = Callable[[], AbstractAsyncContextManager["OpenStore"]]


@dataclass(frozen=True, slots=True)
class _Batch:
    orders: Sequence[Order]
    fills: Sequence[Fill]
    bars_done: int


@dataclass(frozen=True, slots=True)
class _End:
    status: str
    bars_done: int
    result: Result | None
    error: BaseException | None = None
    reason: str = ""


class RunRecorder:
    """The recording of one run. `start`, `sink` any number of times, one of the ends; then `wait`."""

    def __init__(
        self,
        run_id: str,
        plan: RunPlan,
        open_store: OpenStoreLater,
        now_ns: Callable[[], int],
        folder: Path,
    ) -> None:
        self.run_id = run_id
        self.error: Exception | None = None
        self.folder = folder
        self._plan = plan
        self._open_store = open_store
        self._now_ns = now_ns
        self._queue: SimpleQueue[_Batch | _End] = SimpleQueue()  # the engine holds what is in it anyway
        self._bars_done: Callable[[], int] = lambda: 0
        self._waiting: list[Order] = []  # orders that are not written yet
        self._unwritten: list[Fill] = []
        self._cut_short = False
        self._began_ns = now_ns()
        self._fills = 0
        self._orders = 0
        self._root: Envelope[Any] | None = None
        # Not a daemon: a process that ends lets it finish what the run has left.
        self._thread = threading.Thread(target=self._run, name=f"recording {run_id}", daemon=False)

    # What the run's own thread calls.

    def start(self, bars_done: Callable[[], int]) -> None:
        """Begin to write; `bars_done` says how far the run is."""
        self._bars_done = bars_done
        self._thread.start()

    def sink(self, orders: Sequence[Order], fills: Sequence[Fill]) -> None:
        """New orders and fills, from the engine."""
        self._queue.put(_Batch(orders, fills, self._bars_done()))

    def completed(self, result: Result) -> None:
        """The run came to its end."""
        self._queue.put(_End("completed", result.bars, result))

    def stopped(self, reason: str, result: Result | None) -> None:
        """Somebody ended the run. Without a result, by force: then nothing is written any more but that it ended."""
        self._cut_short = result is None
        self._queue.put(_End("stopped", self._bars_done(), result, reason=reason))

    def failed(self, error: BaseException, result: Result | None) -> None:
        """The run ended on an error."""
        self._queue.put(_End("failed", self._bars_done(), result, error=error))

    def wait(self, timeout: float | None = None) -> bool:
        """Whether everything is written, or given up (`error`), within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # What the recording's thread does.

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop().set_default_executor(_Threads())
                runner.run(self._write())
        except Exception as error:  # noqa: BLE001 - the supervisor of the recording: a run never fails on it
            self.error = error

    async def _write(self) -> None:
        async with self._open_store() as store, store.runs.writing(self.run_id):
            await self._begin(store)
            loop = asyncio.get_running_loop()
            while True:
                item = await loop.run_in_executor(None, self._queue.get)
                if isinstance(item, _End):
                    await self._end(store, item)
                    return
                await self._add(store, item)

    async def _begin(self, store: OpenStore) -> None:
        config = config_of(self._plan)
        total = sum(len(one) for one in self._plan.series.values())
        created = self._event(
            RunCreated(config=plain_dict(config.to_json()), weaver=version("weaver-trading")), self._began_ns
        )
        started = self._event(RunStarted(bars=total))
        async with store.database.transaction() as transaction:
            await store.runs.create(
                self.run_id,
                mode=str(config.mode),
                strategy=config.strategy,
                config=config.to_json(),
                bars_total=total,
                began_ns=self._began_ns,
                transaction=transaction,
            )
            await store.log.append([created, started], transaction=transaction)

    async def _add(self, store: OpenStore, batch: _Batch) -> None:
        if self._cut_short:
            return
        self._waiting += batch.orders
        self._unwritten += batch.fills
        orders, fills = self._ended(ROWS_WHILE_RUNNING), self._unwritten[:ROWS_WHILE_RUNNING]
        del self._unwritten[: len(fills)]
        async with store.database.transaction() as transaction:
            await self._append(store, orders, fills, batch.bars_done, transaction)

    async def _end(self, store: OpenStore, end: _End) -> None:
        orders, fills = [_row_of(order) for order in self._waiting], self._unwritten
        if self._cut_short:  # a second Ctrl-C: whoever gave it waits for nothing
            orders, fills = [], []
        result = end.result
        kept = None if result is None else self._keep(result)
        async with store.database.transaction() as transaction:
            await self._append(store, orders, fills, end.bars_done, transaction)
            await store.runs.end(
                self.run_id,
                end.status,
                bars_done=end.bars_done,
                error=None
                if end.error is None
                else storable(f"{type(end.error).__name__}: {end.error}", LONGEST_MESSAGE),
                result=kept,
                transaction=transaction,
            )
            await store.log.append(self._event(self._last_word(end, kept)), transaction=transaction)

    async def _append(
        self,
        store: OpenStore,
        orders: Sequence[tuple[Any, ...]],
        fills: Sequence[Fill],
        bars_done: int,
        transaction: Any,
    ) -> None:
        rows = [
            (
                self._fills + count,
                f.number,
                f.symbol,
                str(f.side),
                f.ts_ns,
                f.quantity,
                f.price,
                f.commission,
                storable(f.tag, LONGEST_TEXT),
            )
            for count, f in enumerate(fills, start=1)
        ]
        self._fills += len(rows)
        self._orders += len(orders)
        await store.runs.add(self.run_id, orders=orders, fills=rows, bars_done=bars_done, transaction=transaction)
        events = [
            self._event(
                OrdersRecorded(orders=list(orders[at : at + step]), fills=[row[1:] for row in rows[at : at + step]])
            )
            for step in (ROWS_OF_AN_EVENT,)
            for at in range(0, max(len(orders), len(rows)), step)
        ]
        if events:
            await store.log.append(events, transaction=transaction)

    def _ended(self, most: int) -> list[tuple[Any, ...]]:
        """The rows of the first `most` orders that wait to be written, of those the ones that have ended."""
        looked_at, rest = self._waiting[:most], self._waiting[most:]
        self._waiting = [order for order in looked_at if order.status.is_open] + rest
        return [_row_of(order) for order in looked_at if not order.status.is_open]

    def _keep(self, result: Result) -> Any:
        from weaver.results.downsampling import extremes
        from weaver.results.run_files import save
        from weaver.walle.runs import StoredResult

        save(result.record, self.folder / self.run_id, self.folder / "bars")
        record = result.record
        rows = extremes(record.equity, POINTS_OF_EQUITY)
        return StoredResult(
            stats=with_definitions(jsonable(result.stats)),
            equity=list(zip(record.equity_end[rows].tolist(), record.equity[rows].tolist(), strict=True)),
            warnings=list(result.warnings),
            folder=self.run_id,
            elapsed_s=result.elapsed_s,
        )

    def _last_word(self, end: _End, kept: Any) -> Any:
        if end.error is not None:
            cause = end.error.__cause__ or end.error
            told = "".join(traceback.format_exception(cause))[-20_000:]
            return RunError(
                error=type(cause).__name__,
                message=storable(str(end.error), LONGEST_MESSAGE) or "",
                traceback=storable(told, LONGEST_MESSAGE) or "",
                bars=end.bars_done,
            )
        if end.status == "stopped":
            return RunStopped(reason=end.reason, bars=end.bars_done, orders=self._orders, fills=self._fills)
        return RunCompleted(
            bars=end.bars_done, orders=self._orders, fills=self._fills, elapsed_s=kept.elapsed_s, stats=kept.stats
        )

    def _event(self, payload: Any, ts_ns: int | None = None) -> Envelope[Any]:
        made = envelope(
            payload,
            ts=self._now_ns() if ts_ns is None else ts_ns,
            producer=PRODUCER,
            run_id=self.run_id,
            cause=self._root,
        )
        self._root = self._root or made
        return made


class _Threads(ThreadPoolExecutor):
    """A thread for each call. A process that ends refuses the usual executors any work before it waits for threads such as
    the recording's, and so a run that was the last thing in a script would not be written."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()

        def work() -> None:
            try:
                done.set_result(call(*arguments, **named))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the call
                done.set_exception(error)

        threading.Thread(target=work, name=threading.current_thread().name, daemon=False).start()
        return done


def _row_of(order: Order) -> tuple[Any, ...]:
    """An order as a row of the table and of its event."""
    row = list(_order_row(order_record(order)))
    row[6], row[7] = storable(row[6], LONGEST_TEXT), storable(row[7], LONGEST_TEXT)  # reason and tag
    return tuple(row)


def config_of(plan: RunPlan) -> RunConfig:
    """What identifies the run of a plan: everything but its bars."""
    first = min(int(one.start[0]) for one in plan.series.values())
    last = max(int(one.start[-1]) for one in plan.series.values())
    settings = jsonable(plan.describe())
    assert isinstance(settings, dict)
    return RunConfig(
        mode=RunMode.BACKTEST,
        strategy=plan.strategy.__name__,
        symbols=tuple(plan.series),
        timeframe=plan.timeframe,
        params=storable_values(jsonable(plan.params), LONGEST_MESSAGE, key_limit=LONGEST_TEXT),
        start=first,
        end=last + 1,
        cash=plan.cash,
        settings={name: value for name, value in settings.items() if name not in ("cash", "seed", "calendar")},
        calendar=None if plan.calendar is None else plan.calendar.name,
        seed=plan.seed,
    )


def plain_dict(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`."""
    import msgspec

    return msgspec.json.decode(data, type=dict[str, Any])
