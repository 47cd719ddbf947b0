"""Ctrl-C: stops a run between two chunks of bars, so that the results so far can be printed."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """Stops a run at the end of the current chunk after Ctrl-C; a second Ctrl-C raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.happened = False
        self._before: Any = None

    def __call__(self) -> bool:
        return self.happened

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
