"""ReadAhead: the batches of a stream, read one ahead, so that waiting for the next can be interrupted without losing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from weaver.core.errors import StoreUnavailable
from weaver.events.log import EventBatch

__all__ = ["ReadAhead"]


class ReadAhead:
    """Reads a stream of batches in a task. Close it when you are done."""

    def __init__(self, stream: AsyncIterator[EventBatch]) -> None:
        self._stream = stream
        self._queue: asyncio.Queue[EventBatch | Exception] = asyncio.Queue(1)
        self._task = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        try:
            async for batch in self._stream:
                await self._queue.put(batch)
            raise StoreUnavailable("the log ended its stream of events")
        except Exception as error:  # noqa: BLE001 - raised by `next`
            await self._queue.put(error)

    async def next(self, interrupt: asyncio.Event) -> EventBatch | None:
        """Return the next batch, or None if `interrupt` was set first. Raises the error that ended the stream."""
        coming = asyncio.ensure_future(self._queue.get())
        interrupted = asyncio.ensure_future(interrupt.wait())
        try:
            await asyncio.wait([coming, interrupted], return_when=asyncio.FIRST_COMPLETED)
            batch = coming.result() if coming.done() else None
        finally:
            coming.cancel()
            interrupted.cancel()
        if isinstance(batch, Exception):
            raise batch
        return batch

    async def close(self) -> None:
        """End the stream."""
        self._task.cancel()
        await asyncio.wait([self._task])
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
