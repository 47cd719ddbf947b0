"""Version of the definitions of the statistics (docs/metrics.md), kept with every stored run.

Increase `STATS_DEFINITIONS` with each change that gives another number for the same run, and list the change in
docs/metrics.md. `weaver runs list` and `compare` mark numbers of another version.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["STATS_DEFINITIONS", "definitions_of", "with_definitions"]

STATS_DEFINITIONS = 2

_KEY = "definitions"


def with_definitions(stats: Mapping[str, object]) -> dict[str, object]:
    """Return stored statistics with the version of the definitions in force."""
    return {**stats, _KEY: STATS_DEFINITIONS}


def definitions_of(stats: Mapping[str, object]) -> int:
    """Return the version by which stored statistics were computed; 1 where none is stored."""
    version = stats.get(_KEY, 1)
    return version if isinstance(version, int) else 1
