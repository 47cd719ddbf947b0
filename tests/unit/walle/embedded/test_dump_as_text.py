"""A dump as text, and the server's first messages: what is removed for other versions, and what passes unchanged."""

from __future__ import annotations

import pytest

from weaver.core.errors import BackupError
from weaver.walle.embedded.client import _known_statements
from weaver.walle.embedded.tls_tunnel import without_channel_binding

RESTRICT = b"\\restrict key\n"
UNKNOWN = [
    b"SET transaction_timeout = 0;\n",
    b"ALTER TABLE ONLY public.runs ALTER COLUMN id SET (pg_attver=26488656);\n",
]


def test_statements_that_only_some_versions_know_are_left_out_and_data_are_not() -> None:
    data = [b"COPY public.runs (id) FROM stdin;\n", *UNKNOWN, b"1\n", b"\\.\n"]
    lines = [
        b"--\n",
        b"\n",
        RESTRICT,
        *UNKNOWN,
        b"SET lock_timeout = 0;\n",
        *data,
        *UNKNOWN,
        b"ALTER TABLE a ADD b int;\n",
    ]
    expected = [b"--\n", b"\n", RESTRICT, b"SET lock_timeout = 0;\n", *data, b"ALTER TABLE a ADD b int;\n"]
    assert list(_known_statements(lines)) == expected


def test_a_dump_that_psql_would_read_without_protection_is_refused() -> None:
    with pytest.raises(BackupError, match="WEAVER_PG_BIN"):
        list(_known_statements([b"--\n", b"SELECT 1;\n", RESTRICT]))


def sasl(*methods: bytes) -> bytes:
    body = b"\x00\x00\x00\x0a" + b"".join(method + b"\0" for method in methods) + b"\0"
    return b"R" + (len(body) + 4).to_bytes(4, "big") + body


def test_only_the_offer_of_the_bound_login_method_is_changed() -> None:
    assert without_channel_binding(sasl(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")) == sasl(b"SCRAM-SHA-256")
    for message in (sasl(b"SCRAM-SHA-256"), b"R\x00\x00\x00\x08\x00\x00\x00\x00", b"E\x00\x00\x00\x05\x00"):
        assert without_channel_binding(message) == message
