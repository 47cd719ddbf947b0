"""Code outside the clock package waits by elapsed time; wall time is for bar boundaries and time stamps."""

from __future__ import annotations

import re
from pathlib import Path

import weaver

SOURCE = Path(weaver.__file__).parent
# The clocks themselves, the port, and the tests of the port.
CLOCKS = ("glados/clock/", "core/ports.py", "testing/")
WAITS_BY_WALL_TIME = re.compile(r"\.(sleep_until|call_at)\(")


def test_no_timeout_poll_or_pause_waits_by_wall_time() -> None:
    waits = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        if not str(path.relative_to(SOURCE)).startswith(CLOCKS)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WAITS_BY_WALL_TIME.search(line)
    ]
    assert waits == [], "use sleep_for, run_within or call_after (weaver.core.ports); allow bar boundaries here"
