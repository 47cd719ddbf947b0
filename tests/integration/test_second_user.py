"""The second user of the tests is another user: it reads what all may read, and nothing that is private."""

from __future__ import annotations

from pathlib import Path

from second_user import SecondUser, open_folder, second_user

__all__ = ["open_folder", "second_user"]


def test_a_second_user_reads_open_files_and_no_private_ones(second_user: SecondUser, open_folder: Path) -> None:
    open_file, private = open_folder / "open", open_folder / "private"
    open_file.write_text("for all")
    private.write_text("for one")
    private.chmod(0o600)
    assert second_user.can_read(open_folder)
    assert second_user.can_read(open_file)
    assert not second_user.can_read(private)
    who = second_user.run("print(os.getuid(), os.geteuid(), os.getgroups())")
    assert who.stdout.split() == [str(second_user.uid), str(second_user.uid), "[]"]
