"""Server settings: the text of weaver.conf, which Weaver writes at every start, and of a new postgresql.conf."""

from __future__ import annotations

__all__ = ["OWN_SETTINGS", "server_settings"]

_SETTINGS = """\
# Written by Weaver at every start; postgresql.conf in this folder is yours and takes precedence.
listen_addresses = ''
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
idle_in_transaction_session_timeout = 60s
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
jit = off
logging_collector = on
log_directory = 'log'
log_filename = 'server-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_min_messages = warning
log_checkpoints = off
log_line_prefix = '%m [%p] %u@%d '
"""
_SETTINGS_18 = "io_method = sync\n"  # no worker processes for a database that fits in memory
_SETTINGS_TCP = "authentication_timeout = 5s\n"  # every local user can connect there: an unfinished login ends soon
OWN_SETTINGS = "# Your own settings go below the next line, and win.\ninclude = 'weaver.conf'\n"


def server_settings(major: int, *, tcp: bool) -> str:
    """Return the text of weaver.conf for this major version; `tcp` if the server listens on 127.0.0.1 too."""
    return _SETTINGS + (_SETTINGS_18 if major >= 18 else "") + (_SETTINGS_TCP if tcp else "")
