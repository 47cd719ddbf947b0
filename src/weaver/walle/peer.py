"""Peer: the user at the other end of a Unix socket, as the operating system reports it. Sends nothing, reads no file."""

from __future__ import annotations

import socket
import struct
import sys

__all__ = ["peer_uid", "uid_of"]

_SOL_LOCAL = 0  # macOS: the level of LOCAL_PEERCRED
_LOCAL_PEERCRED = 1
_XUCRED_BYTES = 76  # macOS: version, uid, number of groups, 16 groups


def peer_uid(line: socket.socket) -> int | None:
    """Return the user id of the process that listens on the socket to which `line` is connected.

    It is the user as whom the process called listen(). None on systems other than Linux and macOS.
    """
    if sys.platform == "linux":
        _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(uid)
    if sys.platform == "darwin":
        return int(struct.unpack_from("II", line.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES))[1])
    return None


def uid_of(user: str) -> int | None:
    """Return the user id of a name, or of a number written as text; None where no such user is known."""
    if user.isascii() and user.isdecimal():
        return int(user)
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
