"""RunRecorder: stores a backtest in the log and the tables, in a thread, about once a second and at the end.

This is the only place where a backtest meets the store. Each write is one transaction: the events, and the rows that say the
same in tables. If the process of a run is killed, its writes so far remain and the run is shown as interrupted.

A recording that fails never changes the run, and delays the end of the process by at most 10 s after its last progress
(`patience_ns`). At the end of a run its files are written first, then the database. If that fails, the files stay, `error`
says why, and the next recording or command that reaches the database stores the run (run_ending.store_pending).
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from weaver.core.definitions import with_definitions
from weaver.core.errors import ConfigError, SchemaMismatch, StoreError, StoreUnavailable
from weaver.core.instants import NS_PER_SECOND
from weaver.core.jsonable import jsonable
from weaver.core.orders import Fill
from weaver.core.ports import Clock, run_within, sleep_for
from weaver.core.replaced_modules import replaced_module_note
from weaver.core.run_config import RunConfig, RunMode
from weaver.core.run_folders import RunFolders
from weaver.core.text import LONGEST_MESSAGE, cut_middle, describe_error, storable, storable_values
from weaver.events.types.orders import OrdersRecorded
from weaver.events.types.run import RunError, RunStarted
from weaver.glados.backtest.build_result import order_record
from weaver.glados.backtest.plan import RunPlan
from weaver.glados.backtest.run_ending import (
    LONGEST_TEXT,
    ROWS_OF_AN_EVENT,
    RunDeleted,
    RunEnding,
    forget_pending,
    store_ending,
    store_pending,
)
from weaver.marvin.order import Order
from weaver.walle.runs import StoredResult

if TYPE_CHECKING:
    from weaver.glados.wiring import OpenStore
    from weaver.results.result import Result

__all__ = ["RunRecorder", "config_of"]

ROWS_WHILE_RUNNING = 2_000
"""Orders and fills that are written at once while the run is under way, so about as many a second. Python runs one thread at
a time, and a run that trades without a pause must not wait for its recording. The rest is written when it is over."""

POINTS_OF_EQUITY = 500
"""Points of the equity curve in the table of results; the whole curve is in its file."""

PATIENCE_NS = 10 * NS_PER_SECOND
_FINAL = (ConfigError, SchemaMismatch, RunDeleted)
_NEW_SERVER_NS = 60 * NS_PER_SECOND  # the very first run creates the embedded database, which is not a failure
_FIRST_PAUSE_NS = NS_PER_SECOND // 4
_LAST_WORDS_NS = NS_PER_SECOND // 2

_order_row = attrgetter("number", "symbol", "side", "kind", "quantity", "status", "reason", "tag", "submitted_ns", "done_ns",
              "filled_quantity", "average_price")  # fmt: skip


OpenStoreLater = Callable[..., AbstractAsyncContextManager["OpenStore"]]


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
    """The recording of one run. Call `start`, `sink` any number of times, and one of the ends; then `wait`.

    `error` is None, or why the run is not in the database once `wait` has returned True.
    """

    def __init__(
        self,
        run_id: str,
        plan: RunPlan,
        open_store: OpenStoreLater,
        clock: Clock,
        folder: Path,
        *,
        patience_ns: int | None = None,
        new_server: bool = False,
    ) -> None:
        self.run_id = run_id
        self.error: Exception | None = None
        self._folders = RunFolders(folder)
        self._plan = plan
        self._open_store = open_store
        self._clock = clock
        self._patience_ns = PATIENCE_NS if patience_ns is None else patience_ns
        self._new_server = new_server
        self._queue: SimpleQueue[_Batch | _End] = SimpleQueue()  # no bound: the engine holds the same orders anyway
        self._end: Future[_End] = Future()
        self._bars_done: Callable[[], int] = lambda: 0
        self._waiting: list[Order] = []  # orders that are not stored yet
        self._unwritten: list[Fill] = []
        self._fills = 0
        self._orders = 0
        self._created = False  # whether the database has the run
        self._database: str | None = None
        self._stored = False
        self._progressed_ns = 0
        self._kept: asyncio.Future[RunEnding]
        self._open: OpenStore | None = None
        began_ns = clock.now_ns()
        config = config_of(plan).to_json()
        self._facts: dict[str, Any] = {
            "run_id": run_id,
            "mode": str(RunMode.BACKTEST),
            "strategy": plan.strategy.__name__,
            "config": config.decode(),
            "weaver": version("weaver-trading"),
            "bars_total": sum(len(series) for series in plan.series.values()),
            "began_ns": began_ns,
        }
        # Not a daemon: a process that ends waits until the run is stored, or the recording has given up.
        self._thread = threading.Thread(target=self._run, name=f"recording {run_id}", daemon=False)

    @property
    def database(self) -> str | None:
        """The database that the run is stored in, without its password; None if none was reached."""
        return self._database

    # Called by the run's own thread.

    def start(self, bars_done: Callable[[], int]) -> None:
        """Begin to write; `bars_done` returns the progress of the run."""
        self._bars_done = bars_done
        self._thread.start()

    def sink(self, orders: Sequence[Order], fills: Sequence[Fill]) -> None:
        """Take new orders and fills from the engine."""
        self._queue.put(_Batch(orders, fills, self._bars_done()))

    def completed(self, result: Result) -> None:
        """Record that the run is complete."""
        self._finish(_End("completed", result.bars, result))

    def stopped(self, reason: str, result: Result | None) -> None:
        """Record that the run was stopped. Without a result (by force) only its end is stored from here on."""
        self._finish(_End("stopped", self._bars_done(), result, reason=reason))

    def failed(self, error: BaseException, result: Result | None) -> None:
        """Record that the run ended on an error."""
        self._finish(_End("failed", self._bars_done(), result, error=error))

    def _finish(self, end: _End) -> None:
        self._queue.put(end)
        self._end.set_result(end)

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether the recording has ended within `timeout` seconds: everything is stored, or `error` says why not."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The recording's thread.

    def _run(self) -> None:
        try:
            _run_and_abandon(self._record(), self._clock, self._disconnect)
        except Exception as error:  # noqa: BLE001 - the supervisor of the recording: a run never fails on it
            self.error = error

    async def _record(self) -> None:
        self._kept = asyncio.get_running_loop().create_future()
        writing = asyncio.create_task(self._write(), name="weaver recording")
        end = await asyncio.wrap_future(self._end)
        try:
            ending = await asyncio.to_thread(self._keep_files, end)
        except Exception as error:  # noqa: BLE001 - the supervisor: a full disk here still leaves the end in the database
            self.error = StoreError(f"the files of run {self.run_id} could not be written: {describe_error(error)}")
            ending = self._ending_of(end, with_rows=False)
        self._kept.set_result(ending)
        self._progress()
        problem = await self._outcome(writing)
        deadline_ns = self._progressed_ns + self._patience_ns
        pause_ns = _FIRST_PAUSE_NS
        attempts = 0
        while problem is not None:
            left_ns = deadline_ns - self._clock.elapsed_ns() - pause_ns
            # A store that was never reached was tried for its own patience before: once more is enough.
            if left_ns <= 0 or (attempts and not self._created) or isinstance(problem, _FINAL):
                self._give_up(problem, ending)
                return
            await sleep_for(self._clock, pause_ns)
            pause_ns *= 2
            attempts += 1
            self._progress()
            problem = await self._outcome(asyncio.create_task(self._write_end_again(ending)), left_ns)

    async def _outcome(self, writing: asyncio.Task[None], limit_ns: int | None = None) -> Exception | None:
        """Wait for `writing` while it makes progress. Return its error, or None when everything is stored."""
        while not writing.done():
            allowed_ns = limit_ns or self._patience_ns
            if self._open is None and self._new_server:
                allowed_ns = max(allowed_ns, _NEW_SERVER_NS)
            left_ns = self._progressed_ns + allowed_ns - self._clock.elapsed_ns()
            if left_ns <= 0:
                writing.cancel()
                seconds = allowed_ns / NS_PER_SECOND
                return StoreUnavailable(
                    f"the database did not answer for {seconds:.3g} s while the run was being written"
                )
            with suppress(TimeoutError):
                await run_within(self._clock, left_ns, asyncio.wait([writing]))
        if self._stored:
            return None
        if writing.cancelled():
            return StoreUnavailable("the recording was cancelled")
        error = writing.exception()
        return error if error is None or isinstance(error, Exception) else StoreError(describe_error(error))

    def _progress(self) -> None:
        self._progressed_ns = self._clock.elapsed_ns()

    def _give_up(self, problem: Exception, ending: RunEnding) -> None:
        """Leave the ending in the run's folder, with the reason."""
        if isinstance(problem, RunDeleted):
            self.error = problem
            forget_pending(self._folders, self.run_id)
            return
        causes = (str(problem).strip() or type(problem).__name__, replaced_module_note(problem))
        reason = storable("; ".join(filter(None, causes)), LONGEST_MESSAGE)
        if self.error is None:
            self.error = StoreError(
                f"{reason}; the run's files are kept in {self._folders.folder(self.run_id)}, and the run is recorded when a "
                "command or another run reaches the database"
            )
        with suppress(OSError):
            msgspec.structs.replace(ending, problem=reason, database=self._database).keep(self._folders)

    async def _write(self) -> None:
        """Store the run while it is under way, and its end once the files are kept."""
        async with self._open_store() as store, store.runs.writing(self.run_id):
            self._opened(store)
            await self._begin(store)
            self._created = True
            loop = asyncio.get_running_loop()
            while isinstance(item := await loop.run_in_executor(None, self._queue.get), _Batch):
                await self._add(store, item)
            await self._write_end(store, await self._kept)

    async def _write_end_again(self, ending: RunEnding) -> None:
        async with self._open_store(resume=True) as store, store.runs.writing(self.run_id):
            self._opened(store)
            await self._write_end(store, ending)

    async def _write_end(self, store: OpenStore, ending: RunEnding) -> None:
        self._progress()
        await store_ending(store, ending, self._folders, create=not self._created, progress=self._progress)
        self._stored = True
        await store_pending(store, self._folders, progress=self._progress)

    def _opened(self, store: OpenStore) -> None:
        self._open = store
        self._database = store.database.description
        self._progress()

    def _disconnect(self) -> None:
        if self._open is not None:
            self._open.database.terminate()

    async def _begin(self, store: OpenStore) -> None:
        ending = self._ending_of(_End("running", 0, None), with_rows=False)
        started = ending.event(RunStarted(bars=ending.bars_total), self._clock.now_ns())
        async with store.database.transaction() as transaction:
            await store.runs.create(
                self.run_id,
                mode=ending.mode,
                strategy=ending.strategy,
                config=ending.config.encode(),
                bars_total=ending.bars_total,
                began_ns=ending.began_ns,
                transaction=transaction,
            )
            await store.log.append([ending.created_event(), started], transaction=transaction)
        self._event = ending.event

    async def _add(self, store: OpenStore, batch: _Batch) -> None:
        if self._end.done():  # the run is over: the rest is stored at once, from its files
            return
        self._waiting += batch.orders
        self._unwritten += batch.fills
        orders, fills = self._ended(ROWS_WHILE_RUNNING), self._unwritten[:ROWS_WHILE_RUNNING]
        del self._unwritten[: len(fills)]
        rows = [
            (
                seq,
                f.number,
                f.symbol,
                str(f.side),
                f.ts_ns,
                f.quantity,
                f.price,
                f.commission,
                storable(f.tag, LONGEST_TEXT),
            )
            for seq, f in enumerate(fills, start=self._fills + 1)
        ]
        self._fills += len(rows)
        self._orders += len(orders)
        events = [
            self._event(
                OrdersRecorded(
                    orders=orders[at : at + ROWS_OF_AN_EVENT],
                    fills=[row[1:] for row in rows[at : at + ROWS_OF_AN_EVENT]],
                ),
                self._clock.now_ns(),
            )
            for at in range(0, max(len(orders), len(rows)), ROWS_OF_AN_EVENT)
        ]
        async with store.database.transaction() as transaction:
            await store.runs.add(
                self.run_id, orders=orders, fills=rows, bars_done=batch.bars_done, transaction=transaction
            )
            if events:
                await store.log.append(events, transaction=transaction)
        self._progress()

    def _ended(self, most: int) -> list[tuple[Any, ...]]:
        """Return the rows of the orders that have ended among the first `most` that are not stored."""
        first, rest = self._waiting[:most], self._waiting[most:]
        self._waiting = [order for order in first if order.status.is_open] + rest
        return [_row_of(order) for order in first if not order.status.is_open]

    def _keep_files(self, end: _End) -> RunEnding:
        """Write the files of the run, and its ending as pending. The database comes after them."""
        from weaver.results.run_files import save

        if end.result is not None:
            save(end.result.record, self._folders)
        ending = self._ending_of(end, with_rows=end.result is not None)
        ending.keep(self._folders)
        return ending

    def _ending_of(self, end: _End, *, with_rows: bool) -> RunEnding:
        result = end.result
        return RunEnding(
            **self._facts,
            ended_ns=self._clock.now_ns(),
            status=end.status,
            bars_done=end.bars_done,
            with_rows=with_rows,
            orders=self._orders if result is None else len(result.record.orders),
            fills=self._fills if result is None else len(result.record.fills),
            error=None if end.error is None else describe_error(end.error, LONGEST_MESSAGE),
            reason=end.reason,
            crash=None if end.error is None else _crash_of(end.error, end.bars_done),
            result=None if result is None else self._stored_result(result, with_files=with_rows),
            database=self._database,
        )

    def _stored_result(self, result: Result, *, with_files: bool) -> StoredResult:
        from weaver.results.downsampling import extremes

        record = result.record
        rows = extremes(record.equity, POINTS_OF_EQUITY)
        return StoredResult(
            stats=with_definitions(jsonable(result.stats)),
            equity=list(zip(record.equity_end[rows].tolist(), record.equity[rows].tolist(), strict=True)),
            warnings=[storable(warning, LONGEST_MESSAGE) for warning in result.warnings],
            folder=self.run_id if with_files else None,
            elapsed_s=result.elapsed_s,
        )


def _crash_of(error: BaseException, bars: int) -> RunError:
    cause = error.__cause__ or error
    trace = cut_middle("".join(traceback.format_exception(cause)))
    return RunError(
        error=storable(type(cause).__name__, LONGEST_TEXT),
        message=storable(str(error), LONGEST_MESSAGE),
        traceback=storable(trace, LONGEST_MESSAGE),
        bars=bars,
    )


def _run_and_abandon(main: Coroutine[Any, Any, None], clock: Clock, disconnect: Callable[[], None]) -> None:
    """Run `main` on a new event loop, and end the loop without waiting for tasks that do not end when cancelled."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Threads())
    try:
        loop.run_until_complete(main)
    finally:
        rest = asyncio.all_tasks(loop)
        if rest:
            loop.set_exception_handler(lambda *_: None)
            disconnect()
            for task in rest:
                task.cancel()
            with suppress(TimeoutError):
                loop.run_until_complete(run_within(clock, _LAST_WORDS_NS, asyncio.wait(rest)))
        else:
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Threads(ThreadPoolExecutor):
    """Runs each call in a thread of its own, which does not keep the process alive.

    A process that ends refuses the usual executors any work before it waits for threads such as the recording's; then a run
    that was the last statement of a script would not be stored.
    """

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()

        def work() -> None:
            try:
                result = call(*arguments, **named)
            except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
                with suppress(InvalidStateError):  # it was cancelled meanwhile
                    done.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    done.set_result(result)

        threading.Thread(target=work, name=threading.current_thread().name, daemon=True).start()
        return done


def _row_of(order: Order) -> tuple[Any, ...]:
    """Return an order as a row of the table and of its event."""
    row = list(_order_row(order_record(order)))
    row[6], row[7] = storable(row[6], LONGEST_TEXT), storable(row[7], LONGEST_TEXT)  # reason and tag
    return tuple(row)


_FIELDS = frozenset(("cash", "seed", "calendar", "history", "instruments", "finer", "source"))
"""Settings that a RunConfig holds in fields of their own."""


def config_of(plan: RunPlan) -> RunConfig:
    """Return what identifies the run of a plan: everything except its bars."""
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
        history=plan.history_ns,
        instruments=settings["instruments"],
        finer=settings["finer"],
        source=settings["source"],
        settings={name: value for name, value in settings.items() if name not in _FIELDS},
        calendar=None if plan.calendar is None else plan.calendar.name,
        seed=plan.seed,
    )
