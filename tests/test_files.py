"""Files and folders appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from toolgen import files
from toolgen.errors import OutputError, UsageError
from toolgen.files import (
    append_record,
    check_apart,
    check_replaceable,
    locked,
    new_file,
    new_folder,
    replace_folder,
    scratch_folder,
    sha256_of,
    temporary_folder,
    write_json,
    write_records,
    write_text,
)

OLD, NEW = {"a": "old a", "deep/b": "old b"}, {"a": "new a", "deep/c": "new c"}
SYSTEM_CALLS = ("mkdir", "open", "rename", "replace", "rmdir", "unlink", "chmod", "fsync", "link")
DISK_FULL = OSError(errno.ENOSPC, "No space left on device")


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def write_folder(target: Path, own: Collection[str] = ("*",)) -> None:
    with new_folder(target, own) as folder:
        fill(folder, NEW)


def write_file(target: Path) -> None:
    write_text(target, "new")


@contextmanager
def failing_at(number: int, error: BaseException, *, after: bool) -> Iterator[list[str]]:
    """The call with this number to one of SYSTEM_CALLS, in any library, raises, before or after its work. What was called."""
    called: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            called.append(name)
            if len(called) != number:
                return real(*arguments, **settings)
            if after and name != "open":  # else the descriptor would stay open
                real(*arguments, **settings)
            raise error

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in SYSTEM_CALLS:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        yield called


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DISK_FULL], ids=["interrupt", "disk full"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("exists", [None, "exchanged", "renamed"])
def test_a_folder_is_the_old_or_the_new_one_wherever_writing_it_fails(
    tmp_path: Path, exists: str | None, after: bool, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exists == "renamed":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    failed = 0
    for number in range(1, 200):
        target = tmp_path / str(number) / "target"
        if exists:
            target.mkdir(parents=True)
            fill(target, OLD)
        before = content(target)
        with failing_at(number, error, after=after) as called, suppress(KeyboardInterrupt, OutputError):
            write_folder(target)
        assert content(target) in (before, NEW), called
        failed += number <= len(called)
        if number > len(called):
            break
        write_folder(target)
        assert content(target) == NEW
        assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert failed > 10


MINE = {"mine/deep/x": "of the user", "note": "of the user"}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), DISK_FULL], ids=["interrupt", "disk full"])
def test_what_is_not_of_the_kind_stays_wherever_writing_fails(
    tmp_path: Path, error: BaseException, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any, **_settings: Any) -> None:
        raise OSError(errno.EPERM, "no second names here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    for number in range(1, 200):
        target = tmp_path / str(number) / "target"
        fill(target, {"a": "old a", "b": "old b"} | MINE)
        before = content(target)
        with failing_at(number, error, after=False) as called, suppress(KeyboardInterrupt, OutputError):
            write_folder(target, ("a", "b", "deep"))
        assert content(target) in (before, NEW | MINE), called
        if number > len(called):
            break
        write_folder(target, ("a", "b", "deep"))
        assert content(target) == NEW | MINE
        assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert number > 10


@pytest.mark.skipif(os.name == "nt", reason="links and permissions of POSIX")
def test_what_is_carried_over_is_not_touched(tmp_path: Path) -> None:
    target = tmp_path / "target"
    fill(tmp_path, {"target/kept": "same", "elsewhere/b": "of another folder"})
    (target / "kept").chmod(0o400)
    (target / "link").symlink_to("../elsewhere")
    (target / "dangling").symlink_to("nowhere")
    before = (target / "kept").stat()
    write_folder(target, ("a", "deep"))
    after = (target / "kept").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    assert [(target / name).readlink() for name in ("link", "dangling")] == [Path("../elsewhere"), Path("nowhere")]
    assert content(tmp_path / "elsewhere") == {"b": "of another folder"}


def interrupted_at(number: int, write: Callable[[Path], None], target: Path) -> bool:
    """Writes, and sends Ctrl-C before the line with this number that runs in files.py. Whether there was such a line."""
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            seen += 1
            if seen == number:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        write(target)
    finally:
        sys.settrace(before)
    return seen >= number


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file object that nobody has yet
@pytest.mark.parametrize("write", [write_folder, write_file])
def test_ctrl_c_before_any_line_leaves_the_old_or_the_new(tmp_path: Path, write: Callable[[Path], None]) -> None:
    for number in range(1, 1000):
        target = tmp_path / str(number) / "target"
        target.parent.mkdir()
        if write is write_folder:
            target.mkdir()
            fill(target, OLD)
        else:
            target.write_text("old")
        reached = True
        with suppress(KeyboardInterrupt):
            reached = interrupted_at(number, write, target)
        assert (content(target) in (OLD, NEW)) if write is write_folder else (target.read_text() in ("old", "new"))
        if not reached:
            return
    raise AssertionError("no end")


@pytest.mark.skipif(os.name == "nt", reason="folders of POSIX can be flushed")
def test_everything_is_on_the_disk_before_it_is_renamed_and_the_new_names_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = os.replace

    def flushed(descriptor: int) -> None:
        place = Path(f"/dev/fd/{descriptor}").resolve()
        done.append(f"flush {place.relative_to(tmp_path.resolve()).as_posix()}")

    def renamed(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", renamed)
    write_folder(tmp_path / "target")
    assert sorted(done[:4]) == [f"flush .target.new{name}" for name in ("", "/a", "/deep", "/deep/c")]
    assert done[4:] == ["rename", "flush ."]
    done.clear()
    write_file(tmp_path / "file")
    assert done[0].startswith("flush .file.")
    assert done[1:] == ["rename", "flush ."]


def test_what_is_written_stays_when_nothing_fails_and_nothing_else_does(tmp_path: Path) -> None:
    for _ in range(2):
        write_folder(tmp_path / "made" / "folder")
        write_file(tmp_path / "made" / "file")
    assert content(tmp_path) == {**{f"made/folder/{name}": text for name, text in NEW.items()}, "made/file": "new"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DISK_FULL, RuntimeError("something else")])
@pytest.mark.parametrize("exists", [False, True])
def test_a_block_that_fails_leaves_the_old_and_nothing_else(tmp_path: Path, exists: bool, error: BaseException) -> None:
    if exists:
        (tmp_path / "folder").mkdir()
        fill(tmp_path / "folder", OLD)
        (tmp_path / "file").write_text("old")
    before = content(tmp_path)
    expected = OutputError if error is DISK_FULL else type(error)
    with pytest.raises(expected), new_folder(tmp_path / "folder") as folder:
        fill(folder, {"a": "half"})
        raise error
    with pytest.raises(expected), new_file(tmp_path / "file") as file:
        file.write(b"half")
        raise error
    assert content(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == (2 if exists else 0)


def test_a_full_disk_is_one_line_that_names_the_place(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError) as caught,
        new_folder(tmp_path / "folder") as folder,
        new_file(folder / "inner") as file,
    ):
        file.write(b"half")
        raise DISK_FULL
    place = tmp_path / "folder"
    assert (
        str(caught.value) == f"cannot write {place}: No space left on device; make room there or choose another place"
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "inner", "text")
    with pytest.raises(OutputError, match="cannot write"), new_folder(tmp_path / "file" / "inner"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="devices of POSIX")
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="no ordinary file"):
            write_text(path, "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(sys.platform != "linux", reason="exchanges folders in one step on Linux")
def test_at_no_moment_is_a_folder_missing_that_is_replaced(tmp_path: Path) -> None:
    """A reader, or the next run after SIGKILL at any line, finds the old folder or the new one."""
    target = tmp_path / "target"
    target.mkdir()
    fill(target, OLD)
    seen = []

    def look(frame: FrameType, _event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != files.__file__:
            return None
        seen.append(content(target))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        write_folder(target)
    finally:
        sys.settrace(before)
    assert seen[0] == OLD and seen[-1] == NEW
    assert all(found in (OLD, NEW) for found in seen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 1])
def test_a_signal_between_the_two_renames_acts_when_the_new_folder_stands(
    tmp_path: Path, number: int, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(_number: int, _frame: Any) -> None:
        raise Stopped

    rename, calls = os.rename, 0

    def interrupted(*arguments: Any, **settings: Any) -> None:
        nonlocal calls
        rename(*arguments, **settings)
        if calls == at:
            signal.raise_signal(number)
        calls += 1

    (tmp_path / "target").mkdir()
    fill(tmp_path / "target", OLD)
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", interrupted)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(Stopped):
            write_folder(tmp_path / "target")
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert content(tmp_path / "target") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_a_killed_process_left_is_put_back_or_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def leave(*endings: str) -> None:
        for ending in endings:
            (tmp_path / f".target.{ending}").mkdir()
            fill(tmp_path / f".target.{ending}", OLD)

    leave("old", "new", "scratch")  # killed between the two renames, and now the disk is full
    with pytest.raises(OutputError), new_folder(target), scratch_folder(target):
        raise DISK_FULL
    assert content(tmp_path) == {f"target/{name}": text for name, text in OLD.items()}
    leave("old", "new")  # killed after both
    write_folder(target)
    assert content(tmp_path) == {f"target/{name}": text for name, text in NEW.items()}
    leave("old")
    temporary_folder(target).mkdir()
    replace_folder(temporary_folder(target), target)
    assert content(target) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_keeps_pointing_to_what_is_replaced(tmp_path: Path) -> None:
    for name in ("folder", "file"):
        (tmp_path / "disk").mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "folder").mkdir()
    write_folder(tmp_path / "folder")
    write_file(tmp_path / "file")
    assert content(tmp_path / "disk" / "folder") == NEW
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert (tmp_path / "folder").is_symlink() and (tmp_path / "file").is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_everyone_whom_the_umask_allows_can_read_what_is_written(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "folder") as folder:
            (folder / "private").touch(mode=0o600)
            (folder / "program").touch(mode=0o700)
        write_file(tmp_path / "file")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "folder": 0o777 & ~umask,
        "private": mode,
        "program": mode | 0o700,
        "file": mode,
    }


def test_only_nothing_an_empty_folder_and_one_of_the_kind_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path, {"same/marker": "", "other/thesis": "", "file": ""})
    for name in ("nothing", "empty", "same"):
        check_replaceable(tmp_path / name, "marker", "checkpoint")
    for name in ("other", "file"):
        with pytest.raises(UsageError, match=f"{name} exists and is no checkpoint; give another output folder"):
            check_replaceable(tmp_path / name, "marker", "checkpoint")


def test_records_are_one_line_each(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"text": "Größe\u2028"}, {"number": 1.5, "none": None}]
    write_records(tmp_path / "records.jsonl", records)
    lines = (tmp_path / "records.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == records


def test_a_record_takes_the_place_of_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    for left, kept in ((b"", b""), (b'{"a": 1}\n', b'{"a": 1}\n'), (b'{"a": 1}\n{"b"', b'{"a": 1}\n'), (b'{"a', b"")):
        file.write_bytes(left)
        append_record(file, {"c": 3})
        assert file.read_bytes() == kept + b'{"c": 3}\n'


def test_a_record_is_added_as_a_whole_line_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    append_record(path, {"step": 1, "text": "é\u2028"})
    append_record(path, {"step": 2})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))  # what a full disk says comes after a part
    try:
        with pytest.raises(OutputError, match=r"cannot write .*curve\.jsonl: File too large"):
            append_record(path, {"step": "3" * 50})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [json.loads(line) for line in before.split(b"\n")[:-1]] == [{"step": 1, "text": "é\u2028"}, {"step": 2}]


def test_json_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"text": "ü"})
    assert (tmp_path / "one.json").read_bytes() == b'{\n "text": "\xc3\xbc"\n}\n'


def test_the_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_lock_keeps_others_out_until_it_is_released_and_leaves_nothing(tmp_path: Path) -> None:
    order: list[str] = []
    target, waiting = tmp_path / "target", threading.Event()

    def other() -> None:
        with locked(target, waiting.set):
            order.append("other")

    thread = threading.Thread(target=other)
    with locked(target), locked(target, lambda: pytest.fail("whoever holds a lock may take it again")):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "other"]
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_want_to_wait_raises(tmp_path: Path) -> None:
    def refuse() -> None:
        raise UsageError("busy")

    caught: list[BaseException] = []

    def other() -> None:
        try:
            with locked(tmp_path / "target", refuse):
                pass
        except UsageError as error:
            caught.append(error)

    with locked(tmp_path / "target"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(30)
    assert [str(error) for error in caught] == ["busy"]


WRITER = """
import sys
from pathlib import Path
from toolgen.files import new_folder
target, name = Path(sys.argv[1]), sys.argv[2]
for round in range(int(sys.argv[3])):
    with new_folder(target) as folder:
        for number in range(3):
            (folder / str(number)).write_text(name)
    if not round:
        print("ready", flush=True)
"""


def writer(target: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), name, str(rounds)], stdout=subprocess.PIPE, text=True
    )


def test_processes_that_write_one_folder_do_not_mix_what_they_write(tmp_path: Path) -> None:
    one, two = (writer(tmp_path / "target", name, 20) for name in ("one", "two"))
    for process in (one, two):
        process.communicate()
    assert (one.returncode, two.returncode) == (0, 0)
    assert content(tmp_path / "target") in [dict.fromkeys("012", name) for name in ("one", "two")]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_process_that_is_ended_at_any_moment_leaves_a_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_folder(target)
    for number in range(4):
        with writer(target, "one", 100_000) as process:
            assert process.stdout and process.stdout.readline() == "ready\n"
            time.sleep(0.05 + 0.013 * number)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == -signal.SIGTERM
        assert content(target) == dict.fromkeys("012", "one")


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    code = "import os, pathlib, toolgen.files as f\nwith f.new_file(pathlib.Path('out.json')) as file: os.kill(os.getpid(), 9)"
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert len([*tmp_path.iterdir()]) == 1  # each takes away what the one before left
    other, foreign = (
        tmp_path / ".other.json.x.new",
        tmp_path / ".out.json.f00ba2-1-1-0.new",
    )  # the latter of another host
    for path in (other, foreign):
        path.touch()
    with new_file(target) as file:
        (living,) = {*tmp_path.iterdir()} - {other, foreign}
        write_text(target, "of another thread")
        assert living.exists()
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
    assert {*tmp_path.iterdir()} == {target, other, foreign}


@pytest.mark.parametrize(
    ("output", "inputs"),
    [
        ("data", ["data"]),
        ("link", ["data"]),
        ("data/../data", ["data"]),
        (".", ["data"]),
        ("data/file", ["data"]),
        ("data", ["data/file"]),
        ("other", ["nothing", "other"]),
    ],
)
def test_an_output_that_would_destroy_an_input_is_refused(tmp_path: Path, output: str, inputs: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    (tmp_path / "other").touch()
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(UsageError, match="would destroy the input"):
        check_apart(tmp_path / output, None, *(tmp_path / one for one in inputs))


@pytest.mark.parametrize("output", ["new", "data-2", "data/new"])
def test_an_output_beside_the_inputs_is_not(tmp_path: Path, output: str) -> None:
    (tmp_path / "data").mkdir()
    check_apart(tmp_path / output, tmp_path / "data", None, "mcp:no path", tmp_path / "missing")
