"""`python -m weaver` is the command `weaver`.

Python puts the current folder first in `sys.path` for `-m`. It is moved to the end before anything else is imported, where
only the user's own code finds modules in it. The few modules that Python imports before this file (`types`, `functools`) are
out of reach: `weaver` and `python -P -m weaver` do not search the current folder at all.
"""

import os
import sys


def _search_current_folder_last() -> None:
    """Move the entry of `-m` from the front of `sys.path` to its end."""
    try:
        current = os.getcwd()
    except OSError:  # the folder was deleted, and Python did not add it
        return
    if not sys.flags.safe_path and sys.path[:1] == [current]:
        del sys.path[0]
        from weaver.core.user_folders import search_last

        search_last(current)


if __name__ == "__main__":
    _search_current_folder_last()
    from weaver.cli.main import main

    sys.exit(main())
