"""The list of a dump's entries: which are Weaver's, which are left out, and which are refused by name."""

from __future__ import annotations

import pytest

from weaver.walle.dump.contents import Contents, KnownTables

pytestmark = pytest.mark.log

KNOWN = KnownTables(
    columns={"runs": ("id", "mode"), "outbox": ("id", "type")},
    sequences={"outbox_id_seq": ("outbox", "id")},
    others=frozenset(["CONSTRAINT public runs runs_pkey", "INDEX public idx_runs"]),
).entries()
OWN = """;
; Archive created at 2026-11-27 22:20:09 UTC
;     TOC Entries: 42
;
219; 1259 16384 TABLE public alembic_version weaver
220; 1259 16385 TABLE public runs weaver
221; 1259 16390 SEQUENCE public outbox_id_seq weaver
222; 1259 16391 TABLE public outbox a user; with an odd name
2626; 0 16384 TABLE DATA public alembic_version weaver
2627; 0 16385 TABLE DATA public runs weaver
2628; 0 16391 TABLE DATA public outbox weaver
2643; 0 0 SEQUENCE SET public outbox_id_seq weaver
2461; 2606 16402 CONSTRAINT public alembic_version alembic_version_pkc weaver
2462; 2606 16402 CONSTRAINT public runs runs_pkey weaver
2466; 1259 16433 INDEX public idx_runs weaver
"""
LEFT_OUT = """3001; 0 0 ACL - SCHEMA public pg_database_owner
3002; 0 0 ACL public TABLE runs weaver
3003; 0 0 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES weaver
3004; 0 0 COMMENT public TABLE runs weaver
5; 2615 2200 SCHEMA - public postgres
"""
FOREIGN = [
    "FUNCTION public evil() weaver",
    "TRIGGER public runs evil weaver",
    "EVENT TRIGGER - evil weaver",
    "EXTENSION - file_fdw ",
    "VIEW public evil weaver",
    "RULE public evil evil weaver",
    "MATERIALIZED VIEW public evil weaver",
    "MATERIALIZED VIEW DATA public evil weaver",
    "TABLE public evil weaver",
    "TABLE DATA public evil weaver",
    "TABLE evil runs weaver",
    "TABLE DATA evil runs weaver",
    "TABLE DATA public runs_evil weaver",
    "SCHEMA - evil weaver",
    "FOREIGN TABLE public evil weaver",
    "FOREIGN DATA WRAPPER - evil weaver",
    "SERVER - evil weaver",
    "BLOB - 16400 weaver",
    "BLOBS - BLOBS ",
    "DEFAULT public runs mode weaver",
    "CHECK CONSTRAINT public runs evil weaver",
    "CONSTRAINT public runs evil weaver",
    "INDEX public evil weaver",
    "POLICY public runs evil weaver",
    "ROW SECURITY public runs weaver",
    "PUBLICATION - evil weaver",
    "SUBSCRIPTION - evil weaver",
    "PROCEDURAL LANGUAGE - evil weaver",
    "SEQUENCE SET public evil weaver",
    "DOMAIN public evil weaver",
    "CAST - CAST (text AS public.evil) ",
    "OPERATOR public = weaver",
    "an entry of a kind that does not exist yet",
]


def test_weavers_own_tables_have_nothing_unknown() -> None:
    contents = Contents.parse(OWN + LEFT_OUT)
    assert list(contents.unknown(KNOWN)) == []
    assert contents.has_revision
    assert len(contents.entries) == 16
    assert [text.split(" ")[0] for text in contents.privileges()] == ["ACL", "ACL", "DEFAULT"]


@pytest.mark.parametrize("entry", FOREIGN)
def test_anything_else_is_named(entry: str) -> None:
    assert list(Contents.parse(f"{OWN}9; 1255 16500 {entry}\n").unknown(KNOWN)) == [entry]


def test_the_selection_has_only_the_data_of_known_tables() -> None:
    foreign = "".join(f"{9000 + number}; 0 0 {entry}\n" for number, entry in enumerate(FOREIGN))
    assert Contents.parse(OWN + LEFT_OUT + foreign).selection(KNOWN) == "2627;\n2628;\n2643;\n"


def test_a_database_without_tables_has_only_a_table_of_the_revision_or_nothing() -> None:
    none = KnownTables.none().entries()
    assert list(Contents.parse("; Archive\n").unknown(none)) == []
    assert not Contents.parse("; Archive\n").has_revision
    kept = "\n".join(line for line in OWN.splitlines() if "alembic" in line)
    assert list(Contents.parse(kept).unknown(none)) == []
    assert len(list(Contents.parse(OWN).unknown(none))) == 8
