"""The kinds of findings in a file of bars."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HOW_TO_READ", "FindingCode"]


class FindingCode(StrEnum):
    """The kind of one finding; `repairs.FIXES` says which repair removes it."""

    LINE = "line"
    """A line that is no row: too few or too many fields, empty, a comment."""
    VALUE = "value"
    """A price or symbol that is missing or cannot be read."""
    VOLUME = "volume"
    """A volume that is missing or below zero, in a bar with possible prices."""
    THOUSANDS = "thousands"
    """A number with thousands separators."""
    DECIMAL = "decimal"
    """A comma that is a decimal sign or groups thousands."""
    TIME = "time"
    """A text that is no time, or a local time that does not exist."""
    UNIT = "unit"
    """A number as time, whose unit is not clear."""
    NAIVE = "naive"
    """A time of day without a time zone."""
    AMBIGUOUS = "ambiguous"
    """A local time that occurs twice."""
    UNDECIDED = "undecided"
    """A date whose day and month cannot be told apart."""
    BAR = "bar"
    """An impossible bar."""
    ROUNDING = "rounding"
    """A bar whose open or close breaches high or low by no more than single precision rounds."""
    SWAPPED = "swapped"
    """A bar that is possible once high and low are exchanged."""
    GRID = "grid"
    """A bar that does not start on the grid of the timeframe."""
    SESSION = "session"
    """A bar that is not one of the sessions of the calendar."""
    ORDER = "order"
    """A row that is earlier than the one before it."""
    DUPLICATE = "duplicate"
    """A row that repeats an earlier one in every value."""
    CONFLICT = "conflict"
    """A row with the time of an earlier one and other values."""


HOW_TO_READ = frozenset(
    {FindingCode.NAIVE, FindingCode.AMBIGUOUS, FindingCode.UNDECIDED, FindingCode.DECIMAL, FindingCode.UNIT}
)
"""Until an option says how to read these, their times and prices are not known, and no repair helps."""
