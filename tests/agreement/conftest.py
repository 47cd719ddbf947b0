"""Lets the tests of this directory import the reference simulator and its scenarios, which are plain modules beside them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
