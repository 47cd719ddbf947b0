"""Registry: one class a type and version, for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weaver.core.errors import ConfigError
from weaver.events import registry
from weaver.events.registry import check_type, name_of, payload_class, register, registered

pytestmark = pytest.mark.log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    classes, names = dict(registry._classes), dict(registry._names)
    yield
    registry._classes.clear()
    registry._classes.update(classes)
    registry._names.clear()
    registry._names.update(names)


def test_a_registered_class_is_found_by_name_and_version_and_the_other_way_round() -> None:
    @register("testing.One", version=3)
    class One(msgspec.Struct, frozen=True): ...

    assert payload_class("testing.One", 3) is One
    assert payload_class("testing.One", 1) is None
    assert name_of(One()) == ("testing.One", 3)
    assert registered()["testing.One", 3] is One


def test_a_second_class_of_a_name_is_refused_and_the_first_stays() -> None:
    @register("testing.One")
    class First(msgspec.Struct, frozen=True): ...

    class Second(msgspec.Struct, frozen=True): ...

    with pytest.raises(ConfigError, match=r"register .*Second under version 2"):
        register("testing.One")(Second)
    assert payload_class("testing.One", 1) is First


def test_the_same_class_again_is_taken_as_a_module_that_was_loaded_twice() -> None:
    def define() -> Any:
        class Same(msgspec.Struct, frozen=True): ...

        return Same

    register("testing.One")(define())
    again = register("testing.One")(define())
    assert payload_class("testing.One", 1) is again


@pytest.mark.parametrize(
    "name", ["One", "testing.one", "Testing.One", "testing.", ".One", "a.b.C", "testing.On e", "", 7, "a.B\n"]
)
def test_a_name_that_is_no_type_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"namespace\.PascalCase"):
        register(name)


def test_a_name_longer_than_the_column_is_refused_and_one_of_its_length_is_not() -> None:
    check_type("a." + "B" * 98)
    with pytest.raises(ConfigError, match="101 characters"):
        check_type("a." + "B" * 99)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1"])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(ConfigError, match="version="):
        register("testing.One", version)


def test_a_class_that_can_change_or_is_no_struct_is_refused() -> None:
    class Changing(msgspec.Struct): ...

    class Plain: ...

    for cls in (Changing, Plain):
        with pytest.raises(ConfigError, match=r"frozen msgspec\.Struct"):
            register("testing.One")(cls)  # type: ignore[type-var]


def test_weavers_own_families_are_known_without_having_been_imported() -> None:
    code = (
        "from weaver.events.envelope import decode\n"
        'event = b\'{"id":"x","type":"run.Started","version":1,"ts":"2024-01-01T00:00:00Z","corr_id":"x",\'\n'
        'event += b\'"producer":"p","payload":{"bars":7}}\'\n'
        "print(type(decode(event).payload).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "RunStarted"


def test_a_new_file_in_the_package_of_types_is_found(tmp_path: Path) -> None:
    (tmp_path / "risk.py").write_text(
        "import msgspec\nfrom weaver.events.registry import register\n\n\n"
        '@register("risk.Denied")\nclass Denied(msgspec.Struct, frozen=True):\n    limit: str\n'
    )
    code = (
        f"import weaver.events.types as types\ntypes.__path__.append({str(tmp_path)!r})\n"
        "from weaver.events.registry import payload_class, registered\n"
        "print(payload_class('risk.Denied', 1).__name__, ('run.Started', 1) in registered())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Denied", "True"]
