"""Progress: a progress bar with rate and remaining time. By default it is drawn on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """A callable (done, total) that draws a progress bar on standard error if that is a terminal."""

    def __init__(self, *, draw: bool | None = None, unit: str = "bars") -> None:
        self.done = 0
        self.total = 0
        self._unit = unit
        # A process without a standard error (2>&-, a service) has None there.
        self._draw = sys.stderr is not None and sys.stderr.isatty() if draw is None else draw
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._draw:
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=total, unit=f" {self._unit}", unit_scale=True, leave=False, dynamic_ncols=True)
            self._bar.update(done - self.done)
        self.done, self.total = done, total

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __str__(self) -> str:
        if not self.total:
            return f"before any {self._unit}"
        return f"after {self.done:,} of {self.total:,} {self._unit} ({100 * self.done // self.total} %)"
