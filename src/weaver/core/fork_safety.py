"""Fork safety: recognise a process that was forked after Polars had started its threads, and refuse work that needs them.

Threads do not survive fork. Polars keeps its pool, finds no thread in it, and waits for ever; Polars offers no way to start
the pool anew. `weaver/__init__.py` calls `note_fork` before and `note_child` after every fork of a process that has imported
Weaver. Not detected: a parent that has used Polars but never imported Weaver and forks without `multiprocessing`.
"""

from __future__ import annotations

import os
import sys

from weaver.core.errors import UnsafeFork

__all__ = ["check_fork", "note_child", "note_fork", "polars_is_lost"]

_pool_before_fork = False
_pool_lost = False
_first_import_pid = os.getpid()


def note_fork() -> None:
    """Record, in the parent just before a fork, whether the thread pool of Polars is running."""
    global _pool_before_fork
    _pool_before_fork = _has_polars_threads("self")


def note_child() -> None:
    """Record, in the child just after a fork, that the thread pool of Polars is lost."""
    global _pool_lost
    _pool_lost = _pool_lost or _pool_before_fork


def check_fork(call: str) -> None:
    """Raise UnsafeFork where Polars would wait for ever in this process; `call` names the refused work."""
    if polars_is_lost():
        raise UnsafeFork(
            f"{call} cannot run in this process: it was forked after Polars had started its threads, which do not exist "
            'here, so the first operation would wait for ever; start the workers with "spawn" or "forkserver", for '
            'example ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
        )


def polars_is_lost() -> bool:
    """Return whether this process was forked after Polars had started its threads."""
    return _pool_lost or _imported_in_a_forked_worker()


def _imported_in_a_forked_worker() -> bool:
    """Return whether a `multiprocessing` fork of a parent with Polars threads imported Weaver only in the child."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or "polars" not in sys.modules or _first_import_pid != os.getpid():
        return False
    forked = type(process.current_process()).__name__ == "ForkProcess"
    return forked and not _has_polars_threads("self") and _has_polars_threads(str(os.getppid()))


def _has_polars_threads(process: str) -> bool:
    """Return whether a process has threads of Polars' pool. Without /proc: whether this process has imported Polars."""
    if "polars" not in sys.modules:
        return False
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return process == "self"
    for thread in threads:
        try:
            with open(f"/proc/{process}/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
        except OSError:  # the thread has ended
            continue
        if name.startswith("polars-") and name[7:].isdigit():
            return True
    return False
