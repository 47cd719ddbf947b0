"""An environment per tool: `.benchmarks/envs/TOOL`, from `requirements/TOOL.txt`, built once and again when that changes.

A tool that cannot be installed here is reported with pip's last words and left out; it stops nothing.
Run as a script it builds all, or the ones that are named.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".benchmarks"
REQUIREMENTS = HERE / "requirements"
TOOLS = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))


class CannotInstall(Exception):
    """A tool's environment could not be built; the message is pip's last line."""


def python_of(tool: str) -> Path:
    """The interpreter of `tool`'s environment, which is built first where it is missing or out of date."""
    wanted = REQUIREMENTS / f"{tool}.txt"
    version = sys.version_info
    stamp = hashlib.sha256(wanted.read_bytes() + f"{version.major}.{version.minor}".encode()).hexdigest()
    folder = CACHE / "envs" / tool
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "built"  # written last, so a build that was killed is done again
    if done.exists() and done.read_text() == stamp and python.exists():
        return python
    print(f"building the environment of {tool} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    base = Path(sys.base_prefix) / "bin" / f"python{version.major}.{version.minor}"
    maker = str(base) if base.exists() else sys.executable
    for command in (
        [maker, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no message"]
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            raise CannotInstall(errors[-1])
    done.write_text(stamp)
    return python


if __name__ == "__main__":
    for name in sys.argv[1:] or TOOLS:
        try:
            print(name, python_of(name))
        except CannotInstall as error:
            print(f"{name}: cannot be installed here: {error}")
