"""The version, which is stored with every run."""

from __future__ import annotations

__version__ = "0.1.0"
