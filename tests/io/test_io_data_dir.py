"""The data directory: one node at a time, and an error that says who has it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tezos_p2p.io import data_dir
from tezos_p2p.io.data_dir import LOCK_NAME, DataDir, DataDirLocked

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")

#: Locks a directory, says so, and waits for the end of its input; then ends as asked.
HOLDER = """
import os, sys
from pathlib import Path
from tezos_p2p.io.data_dir import DataDir
lock = DataDir(Path(sys.argv[1])).lock()
print(os.getpid(), flush=True)
how = sys.stdin.readline().strip()
if how == "release":
    lock.release()
    print("released", flush=True)
    sys.stdin.readline()
os._exit(9)
"""


class Holder:
    """Another process that has the lock."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.pid = int(self.stdout.readline())

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


def test_a_second_process_is_kept_out_and_told_which_one_is_in(tmp_path: Path):
    with Holder(tmp_path) as other:
        with pytest.raises(DataDirLocked) as caught:
            DataDir(tmp_path).lock()
        assert caught.value.pid == other.pid
        text = str(caught.value)
        assert text.startswith(f"{tmp_path}: in use by process {other.pid}")
        assert text.endswith(
            "stop that one, or give this node a data directory of its own"
        )
        assert isinstance(caught.value, OSError)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc on this system")
def test_the_name_of_the_other_program_is_told(tmp_path: Path):
    with Holder(tmp_path) as other:
        name = Path(f"/proc/{other.pid}/comm").read_text().strip()
        with pytest.raises(DataDirLocked, match=rf"process {other.pid} \({name}\)"):
            DataDir(tmp_path).lock()


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path):
    with Holder(tmp_path) as other:
        other.process.kill()
        other.process.wait()
        assert (tmp_path / LOCK_NAME).read_text() == f"{other.pid}\n"
        with DataDir(tmp_path).lock() as lock:
            assert lock.held
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_what_is_released_can_be_had_while_the_other_lives(tmp_path: Path):
    with Holder(tmp_path) as other:
        other.stdin.write("release\n")
        other.stdin.flush()
        assert other.stdout.readline() == "released\n"
        assert other.process.poll() is None
        DataDir(tmp_path).lock().release()


def test_two_nodes_of_one_process_lock_each_other_out(tmp_path: Path):
    with DataDir(tmp_path).lock():
        with pytest.raises(DataDirLocked, match="by another node of this process"):
            DataDir(tmp_path).lock()
        # Who was kept out must not have opened the door by closing the file.
        with pytest.raises(DataDirLocked):
            DataDir(tmp_path).lock()
    DataDir(tmp_path).lock().release()


def test_releasing_twice_is_fine_and_the_file_stays(tmp_path: Path):
    lock = DataDir(tmp_path).lock()
    assert "handle" not in repr(lock)
    lock.release()
    lock.release()
    assert not lock.held
    assert (tmp_path / LOCK_NAME).read_text() == ""


def test_a_lock_is_given_back_when_its_block_fails(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), DataDir(tmp_path).lock():
        raise ZeroDivisionError
    DataDir(tmp_path).lock().release()


def test_other_directories_are_not_locked(tmp_path: Path):
    with DataDir(tmp_path / "a").lock(), DataDir(tmp_path / "b").lock():
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@POSIX
def test_a_missing_directory_is_made_for_its_owner_alone(tmp_path: Path):
    folder = tmp_path / "some" / "where"
    DataDir(folder).lock().release()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / LOCK_NAME).stat().st_mode) == 0o600


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path):
    (tmp_path / "x").write_text("")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        DataDir(tmp_path / "x").lock()


@POSIX
def test_the_lock_is_neither_a_link_nor_a_pipe(tmp_path: Path):
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / LOCK_NAME).symlink_to(target)
    with pytest.raises(OSError):
        DataDir(tmp_path).lock()
    assert target.read_text() == "precious"
    (tmp_path / LOCK_NAME).unlink()
    os.mkfifo(tmp_path / LOCK_NAME)
    with pytest.raises(FileExistsError, match="not a regular file"):
        DataDir(tmp_path).lock()


@pytest.mark.parametrize("content", [b"", b"12", b"-1\n", b"x\n", b"\xff\n", b"9" * 99])
def test_a_process_that_cannot_be_told_is_another_process(tmp_path: Path, content: bytes):
    with DataDir(tmp_path).lock():
        (tmp_path / LOCK_NAME).write_bytes(content)
        with pytest.raises(DataDirLocked, match="in use by another process;") as caught:
            DataDir(tmp_path).lock()
        assert caught.value.pid is None


def test_a_process_that_is_no_more_is_told_without_a_name(tmp_path: Path):
    with DataDir(tmp_path).lock():
        (tmp_path / LOCK_NAME).write_text(f"{10**12}\n")
        with pytest.raises(DataDirLocked, match="by process 1000000000000;"):
            DataDir(tmp_path).lock()


def test_a_full_disk_keeps_nobody_from_locking(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(data_dir.os, "write", full)
        lock = DataDir(tmp_path).lock()
    with lock, pytest.raises(DataDirLocked, match="another process"):
        DataDir(tmp_path).lock()


def test_locks_that_do_not_work_are_told_as_such(tmp_path, monkeypatch):
    def broken(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    monkeypatch.setattr(data_dir, "_lock", broken)
    with pytest.raises(OSError, match="No locks available") as caught:
        DataDir(tmp_path).lock()
    assert not isinstance(caught.value, DataDirLocked)
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_what_a_killed_node_left_half_written_is_removed(tmp_path: Path):
    left = [".peers.json.ab.tmp", ".acl.json.cd.tmp", ".anchors.json.ef.tmp"]
    # A configuration may be being written by another command.
    kept = [".config.json.gh.tmp", "peers.json", "peers.json.unreadable-1"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    DataDir(tmp_path).lock().release()
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, LOCK_NAME])


def test_who_is_kept_out_removes_nothing(tmp_path: Path):
    with DataDir(tmp_path).lock():
        (tmp_path / ".peers.json.ab.tmp").write_text("being written")
        with pytest.raises(DataDirLocked):
            DataDir(tmp_path).lock()
        assert (tmp_path / ".peers.json.ab.tmp").exists()


def test_children_do_not_inherit_the_lock(tmp_path: Path):
    lock = DataDir(tmp_path).lock()
    waits = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    pipe = subprocess.PIPE
    child = subprocess.Popen(waits, stdin=pipe, stdout=pipe, close_fds=False)
    assert child.stdout is not None
    child.stdout.readline()  # it runs, so what it does not inherit is closed
    try:
        os.close(lock._handle)  # as if this process had died
        DataDir(tmp_path).lock().release()
    finally:
        child.communicate()


def test_the_files_have_the_names_of_the_reference(tmp_path: Path):
    folder = DataDir(tmp_path)
    paths = [folder.identity, folder.config, folder.peers, folder.acl, folder.anchors]
    assert [path.name for path in paths] == [
        "identity.json",
        "config.json",
        "peers.json",
        "acl.json",
        "anchors.json",
    ]
    assert {path.parent for path in paths} == {tmp_path}
