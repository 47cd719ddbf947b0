"""Private folders: made, checked and given away so that no other local user can enter, replace or prepare one.

A folder is opened first and judged through its descriptor, so that a name which changes its meaning in between does no
harm. Standard library only: the keeper imports it under `python -I -S`.

Does not protect from root, from the user as whom root runs the server, or from members of a group that may write to a folder
above.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["NotPrivate", "check_above", "check_private", "give_away", "make_private", "open_own",
           "remove_files", "remove_private", "user_name"]  # fmt: skip

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class NotPrivate(Exception):
    """Another user can enter or replace a folder, or made it; the text names the folder and the user."""


def open_own(folder: Path, owners: Collection[int]) -> int:
    """Return a descriptor of `folder`, which one of the user ids `owners` owns.

    Raises NotPrivate if another user owns it, or if it is a link or not a folder.
    """
    try:
        descriptor = os.open(folder, _OPEN)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotPrivate(f"{folder} is not a folder of Weaver's own ({error.strerror}); remove it") from None
    owner = os.fstat(descriptor).st_uid
    if owner not in owners:
        os.close(descriptor)
        raise NotPrivate(f"{folder} belongs to user {user_name(owner)}; remove it, or give it back to its owner")
    return descriptor


def give_away(descriptor: int, uid: int, gid: int) -> None:
    """Make the user the owner of the open folder, and close it to others. A `gid` of -1 leaves its group as it is.

    Raises NotPrivate if the file system does not do it.
    """
    os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, 0o700)  # after the change of owner: the earlier one could have changed the mode until then
    status = os.fstat(descriptor)
    if status.st_uid != uid or stat.S_IMODE(status.st_mode) != 0o700:
        raise NotPrivate(
            "the file system of WEAVER_HOME does not change the owner or mode of a folder; name another with WEAVER_HOME=DIR"
        )


def check_private(folder: Path, owners: Collection[int]) -> None:
    """Raise NotPrivate unless `folder` belongs to one of the user ids `owners` and only its owner can enter it."""
    descriptor = open_own(folder, owners)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
    if mode & 0o077:
        raise NotPrivate(f"{folder} has mode {mode:04o}, so other users can enter it")


def make_private(folder: Path) -> bool:
    """Make `folder`, which must not exist. Return False if the name is taken."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    descriptor = open_own(folder, (os.geteuid(),))
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return True


def remove_private(folder: Path, owners: Collection[int], prefix: str) -> None:
    """Remove the files of `folder` whose names start with `prefix`, and the folder if it is empty then.

    Does nothing if none of the user ids `owners` owns it.
    """
    with contextlib.suppress(OSError, NotPrivate):
        descriptor = open_own(folder, owners)
        try:
            remove_files(descriptor, prefix)
        finally:
            os.close(descriptor)
        folder.rmdir()


def remove_files(descriptor: int, prefix: str) -> None:
    """Remove the files of the open folder whose names start with `prefix`."""
    for name in os.listdir(descriptor):
        if name.startswith(prefix):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=descriptor)


def check_above(folder: Path) -> None:
    """Raise NotPrivate if another user can put something else in the place of `folder`, whatever the folder's own mode.

    That is so where a folder or link above belongs to another user with an account, or where every user may rename the
    entries of a folder above (a mode such as 0777; 1777, as /tmp has, is safe). An owner without an account is taken for the
    one of a folder that is mounted into a container. A group that may write to a folder above is trusted.
    """
    trusted = {0, os.geteuid()}
    for path in _above(folder):
        try:
            status = path.lstat()
        except FileNotFoundError:  # it is made later, by this process
            continue
        owner, mode = status.st_uid, stat.S_IMODE(status.st_mode)
        if owner not in trusted and user_name(owner) != str(owner):
            raise NotPrivate(
                f"{path} belongs to user {user_name(owner)}, who can put another folder in the place of {folder}; move "
                f"it to a folder of your own, and name that with WEAVER_HOME=DIR"
            )
        if stat.S_ISDIR(status.st_mode) and mode & 0o002 and not mode & stat.S_ISVTX:
            raise NotPrivate(
                f"{path} has mode {mode:04o}, so every user can put another folder in the place of {folder}; forbid it with "
                f"`chmod +t {path}` or `chmod o-w {path}`, or name a folder of your own with WEAVER_HOME=DIR"
            )


def _above(folder: Path) -> Iterator[Path]:
    """Yield the folders above `folder`, and the links by which its path reaches it."""
    seen = set()
    for path in (folder, folder.resolve()):
        if path.is_symlink():
            yield path
        for parent in path.parents:
            if parent not in seen:
                seen.add(parent)
                yield parent


def user_name(uid: int) -> str:
    """Return the name of the user, or the number as text where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
