"""The reader of dumps: takes rows and numbers of sequences, and refuses every other statement."""

from __future__ import annotations

import io

import pytest

from weaver.core.errors import BackupError
from weaver.walle.dump import reader
from weaver.walle.dump.reader import DumpReader, SequenceValue, TableData

pytestmark = pytest.mark.log

PREAMBLE = b"""--
-- PostgreSQL database dump
--

\\restrict 12yY3eqTgwo4vTe7oP48x8838CBsswPftwDm1w5GJVMCYzftmsqtTDkT6iktrZG

-- Dumped from database version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'LATIN1';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

"""
COPY = b"COPY public.runs (id, mode) FROM stdin;\n"
END = b"\\.\n"


def read(text: bytes) -> list[tuple[str, bytes] | SequenceValue]:
    sections: list[tuple[str, bytes] | SequenceValue] = []
    for section in DumpReader(io.BytesIO(text)):
        if isinstance(section, TableData):
            sections.append((f"{section.schema}.{section.table} {section.columns}", b"".join(section.rows)))
        else:
            sections.append(section)
    return sections


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 18])
@pytest.mark.parametrize("rows", [b"", b"a\tb\n", b"a\tb\nc\td\n", b"\\\\.\n", b"a\\.\n\\.x\n\n", b"x" * 1000 + b"\n"])
def test_rows_come_back_byte_for_byte_wherever_a_block_ends(
    rows: bytes, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BLOCK", block)
    text = PREAMBLE + COPY + rows + END + b"\n\n" + b'COPY public."orders" ("number") FROM stdin;\n' + rows + END
    assert read(text) == [("public.runs ('id', 'mode')", rows), ("public.orders ('number',)", rows)]


def test_the_encoding_and_the_numbers_of_sequences_are_read() -> None:
    text = PREAMBLE + COPY + END + b"SELECT pg_catalog.setval('public.outbox_id_seq', 17, true);\n"
    sections = _exhausted(text)
    assert isinstance(sections[0], TableData)
    assert sections[0].encoding == "LATIN1"
    assert sections[1] == SequenceValue("public", "outbox_id_seq", 17, True)


def _exhausted(text: bytes) -> list[TableData | SequenceValue]:
    sections = []
    for section in DumpReader(io.BytesIO(text)):
        if isinstance(section, TableData):
            assert b"".join(section.rows) == b""
        sections.append(section)
    return sections


STATEMENTS = [
    b"SELECT 1;\n",
    b"COPY public.runs (id) FROM PROGRAM 'touch /tmp/x';\n",
    b"COPY public.runs (id) FROM '/etc/passwd';\n",
    b"COPY (SELECT 1) TO PROGRAM 'touch /tmp/x';\n",
    b"COPY public.runs (id) FROM stdin; SELECT 1;\n",
    b"COPY public.runs (id) FROM stdin WHERE evil();\n",
    b"COPY public.runs (id) FROM stdin;\r\n",
    b"COPY public.runs FROM stdin;\n",
    b"COPY runs (id) FROM stdin;\n",
    b'COPY public."runs""; DROP" (id) FROM stdin;\n',
    b"SELECT pg_catalog.setval('public.outbox_id_seq', 17, true); SELECT 1;\n",
    b"SELECT pg_catalog.setval('public.x', nextval('y'), true);\n",
    b"SELECT pg_catalog.setval('public.x', 9999999999999999999, true);\n",
    b"SELECT pg_catalog.setval('public.x', -1, true);\n",
    b"SELECT pg_catalog.set_config('search_path', 'evil', false);\n",
    b"SET search_path = evil;\n",
    b"SET client_encoding = 'UTF8'; SELECT 1;\n",
    b"SET session_preload_libraries = '/tmp/evil.so';\n",
    b"ALTER TABLE public.runs ADD COLUMN x int DEFAULT evil();\n",
    b"CREATE EXTENSION evil;\n",
    b"SELECT pg_catalog.lo_create('1');\n",
    b"INSERT INTO public.runs VALUES ('x');\n",
    b"\\! touch /tmp/x\n",
    b"\\copy runs from program 'touch /tmp/x'\n",
    b"\\restrict key; \\! touch /tmp/x\n",
    b"\\i /tmp/evil.sql\n",
    b" SET row_security = off;\n",
    b"/* */ SELECT 1;\n",
    b"\x00\n",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_other_statement_is_refused_wherever_it_is(statement: bytes) -> None:
    for text in (statement, PREAMBLE + statement, PREAMBLE + COPY + END + statement):
        with pytest.raises(BackupError, match="a statement that is not data of a table"):
            read(text)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_an_end_of_the_rows_inside_the_rows_does_not_begin_a_statement(statement: bytes) -> None:
    with pytest.raises(BackupError, match="a statement that is not data of a table"):
        read(PREAMBLE + COPY + b"a\tb\n" + END + statement + END)


@pytest.mark.parametrize("text", [COPY, COPY + b"a\tb\n", COPY + b"a\tb\n\\.", COPY + b"a\\.\n"])
def test_rows_without_an_end_are_refused(text: bytes) -> None:
    with pytest.raises(BackupError, match="the end of its data is missing"):
        read(PREAMBLE + text)


@pytest.mark.parametrize("text", [b"SET row_security = off;", b"-- comment", b"SELECT " + b"x" * (1 << 17) + b";\n"])
def test_a_statement_that_does_not_end_or_is_too_long_is_refused(text: bytes) -> None:
    with pytest.raises(BackupError, match="a statement without an end"):
        read(PREAMBLE + text)


def test_a_long_statement_is_shown_cut() -> None:
    with pytest.raises(BackupError) as refused:
        read(b"SELECT '" + b"x" * 5000 + b"';\n")
    assert len(str(refused.value)) < 200
