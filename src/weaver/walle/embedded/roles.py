"""Roles of the embedded server: `weaver`, which owns the data and is no superuser, and the superuser, which cannot log in.

A superuser may run programs on the server and read and write its files, so nothing that is connected is one: neither Weaver
nor `weaver db psql`. The superuser `weaver_admin` is only used in single-user mode, while no server runs.

In clusters of Weaver 0.1.0 the role `weaver` is the superuser that initdb made. PostgreSQL does not take that right from it,
and a role cannot be renamed by itself, so the change has three parts, each a list of statements for single-user mode:
`begin_change` makes a new role, `move_objects` gives it the objects of the old one, database by database, and `end_change`
renames both in one transaction. Until that transaction the old role is `weaver` as before. So a change that was interrupted
anywhere leaves a database that works, and is repeated whole at the next start: every part finds what is done already.
"""

from __future__ import annotations

import re

__all__ = [
    "ADMINISTRATOR", "MARK", "begin_change", "change_is_complete", "databases_to_change", "end_change", "move_objects",
    "new_cluster", "new_password",
]  # fmt: skip

ADMINISTRATOR = "weaver_admin"
"""The superuser of the cluster. It has no password and cannot log in."""
MARK = "weaver.roles"
"""File in the data folder: the roles are those described here."""

_NEW = "weaver_application"  # the new role until it gets the name `weaver`
_RENAMER = "weaver_renamer"  # exists within one transaction only
_INITIAL = 10  # object id of the role that initdb made, in every version
_FIRST_OWN = 16384  # lowest object id of what users made
# The rights beyond its own data that do no harm: to see other sessions and settings, to end them, to write a checkpoint.
_RIGHTS = "GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO weaver"
_OWN = (
    f"= {_INITIAL} AND o.oid >= {_FIRST_OWN} AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.tableoid "
    "AND e.objid = o.oid AND e.deptype = 'e')"
)  # members of an extension stay with it
_OBJECTS = f"""
SELECT format('ALTER SCHEMA %I OWNER TO {_NEW}', nspname) FROM pg_namespace o
WHERE nspowner {_OWN} AND nspname !~ '^pg_'
UNION ALL
SELECT format('ALTER TABLE %s OWNER TO {_NEW}', o.oid::regclass) FROM pg_class o
WHERE relowner {_OWN} AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relnamespace::regnamespace::text !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.tableoid AND d.objid = o.oid AND o.relkind = 'S'
                  AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))
UNION ALL
SELECT format('ALTER ROUTINE %s OWNER TO {_NEW}', o.oid::regprocedure) FROM pg_proc o
WHERE proowner {_OWN}
UNION ALL
SELECT format('ALTER TYPE %s OWNER TO {_NEW}', o.oid::regtype) FROM pg_type o
WHERE typowner {_OWN} AND typtype IN ('b', 'c', 'd', 'e', 'r') AND typcategory <> 'A'
  AND typnamespace::regnamespace::text !~ '^pg_'
  AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = o.typrelid AND c.relkind = 'c'))
UNION ALL
SELECT format('ALTER LARGE OBJECT %s OWNER TO {_NEW}', o.oid) FROM pg_largeobject_metadata o WHERE lomowner {_OWN}
"""
_DATABASES = f"SELECT datname FROM pg_database WHERE datdba = {_INITIAL} AND datname NOT IN ('template0', 'template1')"
_SAFE_NAMES = "SET search_path = pg_catalog"  # a function or operator of the same name in `public` is not called


def new_cluster(password: str) -> list[str]:
    """Return the statements after initdb, which made the superuser with this password."""
    return [
        "ALTER DATABASE postgres RENAME TO weaver",
        f"CREATE ROLE weaver LOGIN CREATEDB PASSWORD {_literal(password)}",
        _RIGHTS,
        "ALTER DATABASE weaver OWNER TO weaver",
        f"ALTER ROLE {ADMINISTRATOR} NOLOGIN PASSWORD NULL",
    ]


def new_password(password: str) -> list[str]:
    """Return the statements that give the role `weaver` another password."""
    return [f"ALTER ROLE weaver PASSWORD {_literal(password)}"]


def begin_change() -> list[str]:
    """Return the statements that make the new role; their output goes to `databases_to_change`."""
    is_old = f"EXISTS (SELECT FROM pg_roles WHERE oid = {_INITIAL} AND rolname = 'weaver')"
    is_new = f"EXISTS (SELECT FROM pg_roles WHERE rolname = '{_NEW}')"
    name = "encode(convert_to(datname::text, 'UTF8'), 'hex')"
    return [
        _SAFE_NAMES,
        f"DO $$ BEGIN IF {is_old} AND NOT {is_new} THEN CREATE ROLE {_NEW} NOLOGIN; END IF; END $$",
        f"SELECT {name} AS database FROM pg_database WHERE datname <> 'template0' AND {is_old} ORDER BY datname",
    ]


def databases_to_change(output: str) -> list[str]:
    """Return the databases in which objects are to be moved; none where the roles are changed already."""
    return [bytes.fromhex(name).decode() for name in re.findall(r'\bdatabase = "([0-9a-f]+)"', output)]


def move_objects() -> list[str]:
    """Return the statements that give all objects of one database to the new role, in one transaction.

    Members of extensions, and kinds that PostgreSQL lets only a superuser own, stay with the old role.
    """
    loop = f"FOR statement IN {_OBJECTS} LOOP EXECUTE statement; END LOOP;"
    return [_SAFE_NAMES, " ".join(f"DO $$ DECLARE statement text; BEGIN {loop} END $$".split())]


def end_change(password: str) -> list[str]:
    """Return the statements that give the new role the name `weaver`; their output goes to `change_is_complete`."""
    alter = "EXECUTE format('ALTER DATABASE %I OWNER TO weaver', name)"
    return [
        _SAFE_NAMES,
        "BEGIN",
        f"CREATE ROLE {_RENAMER} SUPERUSER",
        f"SET SESSION AUTHORIZATION {_RENAMER}",
        f"ALTER ROLE weaver RENAME TO {ADMINISTRATOR}",
        f"SET SESSION AUTHORIZATION {ADMINISTRATOR}",
        f"DROP ROLE {_RENAMER}",
        f"ALTER ROLE {_NEW} RENAME TO weaver",
        f"ALTER ROLE weaver LOGIN CREATEDB PASSWORD {_literal(password)}",
        _RIGHTS,
        f"UPDATE pg_db_role_setting SET setrole = 'weaver'::regrole WHERE setrole = {_INITIAL}",
        f"DO $$ DECLARE name text; BEGIN FOR name IN {_DATABASES} LOOP {alter}; END LOOP; END $$",
        f"ALTER ROLE {ADMINISTRATOR} NOLOGIN PASSWORD NULL",
        "COMMIT",
        "SELECT rolsuper AS is_superuser FROM pg_roles WHERE rolname = 'weaver'",
    ]


def change_is_complete(output: str) -> bool:
    """Return whether the output of `end_change` shows that the role `weaver` is no superuser."""
    return 'is_superuser = "f"' in output


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
