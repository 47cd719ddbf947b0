"""Suggestions for misspelt names: "did you mean 'AAPL'?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from weaver.core.errors import UnknownSymbol
from weaver.core.text import brief, cut

__all__ = ["listed", "nearest", "suggest", "unknown_symbol"]

# difflib's ratio of two words. At 0.6 one changed letter of three still matches; below 0.5 unrelated words do.
_CUTOFF = 0.6
_LISTED = 10
_LONGEST = 200  # characters that are compared: difflib needs minutes for a megabyte


def nearest(name: object, known: Iterable[str], *, most: int = 1, cutoff: float = _CUTOFF) -> list[str]:
    """Return up to `most` of the `known` names that are most similar to `name`, the best first; upper and lower case match.

    Empty where none is similar by `cutoff` (0 to 1).
    """
    text = cut(str(name), _LONGEST)
    names = list(dict.fromkeys(known))
    matches = difflib.get_close_matches(text, names, n=most, cutoff=cutoff)
    folded: dict[str, str] = {}
    for each in names:
        folded.setdefault(each.casefold(), each)
    matches = [each for each in names if each.casefold() == text.casefold()] + matches
    matches += [folded[each] for each in difflib.get_close_matches(text.casefold(), folded, n=most, cutoff=cutoff)]
    return list(dict.fromkeys(matches))[:most]


def suggest(name: object, known: Iterable[str], otherwise: str = "", *, cutoff: float = _CUTOFF) -> str:
    """Return "did you mean 'AAPL'?" with the known name nearest to `name`; `otherwise` where none is similar."""
    matches = nearest(name, known, cutoff=cutoff)
    return f"did you mean {brief(matches[0])}?" if matches else otherwise


def listed(names: Iterable[str], most: int = _LISTED) -> str:
    """Return the names separated by commas, at most `most` of them: "AAPL, IBM and 3 more"; "none" without any."""
    every = list(names)
    rest = f" and {len(every) - most:,} more" if len(every) > most else ""
    return (", ".join(every[:most]) or "none") + rest


def unknown_symbol(symbol: object, known: Iterable[str], where: str = "this run") -> UnknownSymbol:
    """Return the error for a symbol that `where` does not have, with the nearest one or a list of those it has."""
    names = list(known)
    otherwise = f"it has: {listed(names)}" if names else "it is empty"
    return UnknownSymbol(f"symbol {brief(symbol)} is not in {where}; {suggest(symbol, names, otherwise, cutoff=0.5)}")
