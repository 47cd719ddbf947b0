"""What the tests of the embedded server use it with: other processes, psql, a look at what runs, a stop at a named point."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.paths import DatabasePaths

__all__ = ["Stop", "User", "ask", "kill", "lives", "on", "psql", "wait_until_stopped"]

USER = """
import sys
from pathlib import Path
from weaver.walle.embedded import attach, startup as module
if len(sys.argv) > 2:
    module._KEEPER = sys.argv[2]
with attach(Path(sys.argv[1])) as holding:
    print(holding.url, holding.server["pid"], holding.server["keeper"], flush=True)
    sys.stdin.readline()
"""


class User:
    """Another process that holds the server until it is told to leave, or killed."""

    there: ClassVar[list[User]] = []

    def __init__(self, home: Path, *more: str, waits: bool = True, python: str = sys.executable, **how: Any) -> None:
        self.there.append(self)
        self.process = subprocess.Popen(
            [python, "-W", "error", "-c", USER, str(home), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **how,
        )
        if waits:
            self.hear()

    def hear(self) -> None:
        """Wait until it holds the server."""
        assert self.process.stdout is not None
        self.url, self.server, self.keeper = self.process.stdout.readline().split()

    def leave(self) -> None:
        self.process.communicate("\n")
        assert self.process.returncode == 0

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


def psql(url: str, statement: str, *, password: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    plain = url.replace("+asyncpg", "")
    if password is not None:
        before, _, rest = plain.partition("//weaver:")
        plain = f"{before}//weaver:{password}@{rest.partition('@')[2]}"
    program = find_programs().path("psql")
    return subprocess.run(
        [program, "-XAt", "-v", "ON_ERROR_STOP=1", "-c", statement, plain],
        capture_output=True,
        text=True,
        env=environment,
    )


def ask(url: str, statement: str) -> str:
    done = psql(url, statement)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_until_stopped(home: Path) -> None:
    """Returns when the keeper is no more: the kernel then drops its lock."""
    with DatabasePaths(home).keeper_lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def kill(pid: str) -> None:
    """kill -9, and wait until the process is dead: the system takes a moment, in which it still answers."""
    watched = os.pidfd_open(int(pid))
    os.kill(int(pid), signal.SIGKILL)
    select.select([watched], [], [])
    os.close(watched)


def on(home: Path) -> list[str]:
    """What still runs for this home: the keeper, the server and its children."""
    data = os.path.realpath(DatabasePaths(home).data(find_programs().major))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and lives(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if os.readlink(entry / "cwd") == data or (".keeper import" in words and str(home) in words):
                    found.append(words)
            except OSError:
                continue
    return found


class Stop:
    """A keeper that stands still at a named step, the first time, until it is let go or killed. `code` is what the keeper runs."""

    def __init__(self, folder: Path, step: str) -> None:
        self._here, self._go = folder / f"{step}.here", folder / f"{step}.go"
        for pipe in (self._here, self._go):
            os.mkfifo(pipe)
        self.code = (
            "import os\n"
            "reached = []\n"
            "def at_step(name):\n"
            f"    if name == {step!r} and not reached:\n"
            "        reached.append(name)\n"
            f"        with open({str(self._here)!r}, 'w') as here: here.write(str(os.getpid()))\n"
            f"        open({str(self._go)!r}).read()\n"
            "from weaver.walle.embedded.keeper import main\n"
            "main(at_step)\n"
        )

    def reached(self) -> str:
        """Wait until it stands there; its process id."""
        return self._here.read_text()

    def go(self) -> None:
        self._go.write_text("")
