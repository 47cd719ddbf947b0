"""Ctrl-C: asks a run to stop at its next chance, so that what there is by then can be shown."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """Tells a run to stop at the next chance after Ctrl-C; a second Ctrl-C raises KeyboardInterrupt where it stands."""

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
