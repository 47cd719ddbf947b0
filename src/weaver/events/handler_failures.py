"""Failures of a consumer's handler that are not exceptions of the handler; their names and messages are in dead letters."""

from __future__ import annotations

__all__ = ["HandlerCancelled", "HandlerFailure", "HandlerTooSlow", "ProcessEnded"]


class HandlerFailure(Exception):
    """The handler failed without raising an exception."""


class HandlerCancelled(HandlerFailure):
    """The handler raised CancelledError although the consumer was not cancelled."""


class HandlerTooSlow(HandlerFailure):
    """The handler took longer than the server allows a transaction."""


class ProcessEnded(HandlerFailure):
    """The process ended while the handler was running."""
