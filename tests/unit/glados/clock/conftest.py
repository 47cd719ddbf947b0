"""The clock fixtures, from the file that other rooms' tests take them from too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_file = Path(__file__).parents[3] / "fixtures" / "clock.py"
_spec = importlib.util.spec_from_file_location("clock_fixtures", _file)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

clock = _module.clock
real_time = _module.real_time
