"""Files and folders that appear whole or not at all, locks between processes, the hash of a file.

A file is written beside its place until it is whole and on the disk; then it is renamed. A full disk, Ctrl-C or SIGTERM
at any moment leaves the old one or the new one, and nothing else. Beside a folder NAME stand meanwhile

    .NAME.new           what is being written; of a file .NAME.HOST-PROCESS-START-NUMBER.new
    .NAME.old           what was there before, until it is removed
    .NAME.lock          held by the process that writes NAME

What a killed process left there is put back or removed by the next one that writes NAME. Knows nothing of contents.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from toolgen.errors import OutputError, UsageError


@contextmanager
def new_folder(target: Path, own: Collection[str] = ("*",)) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well, it takes the place of `target`, otherwise it goes.

    `own` are the names, as patterns, that this kind of folder gives its files: what else stands in `target` stays there.
    Holds the lock of `target`. OutputError if it cannot be written.
    """
    with named_failure(target), locked(target):
        _clean_up(target)
        with _passing(temporary_folder(target)) as new:
            yield new
            replace_folder(new, target, own)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, for what that is made from; it goes when the block ends. The caller holds the lock."""
    with named_failure(target), _passing(_beside(target, "scratch")) as folder:
        yield folder


def temporary_folder(target: Path) -> Path:
    """Where a folder stands until it is whole; `new_folder` makes it and removes it."""
    return _beside(target, "new")


def replace_folder(new: Path, target: Path, own: Collection[str] = ("*",)) -> None:
    """Puts a finished folder in the place of `target`. A folder cannot be renamed over a full one, so both exchange their
    places; where the system cannot do that, the older one steps aside first, and comes back on any failure. `own`: see
    `new_folder`."""
    _finish(new)
    _clean_up(target)
    _carry_over(target, new, own)
    old, place = _beside(target, "old"), target.resolve()
    with _signals_wait():
        try:
            if not place.exists():
                new.rename(place)
            elif _exchange(new, place):
                new.rename(old)
            else:
                place.rename(old)
                new.rename(place)
            _flush(place.parent)
        finally:
            _clean_up(target)


def check_replaceable(path: Path, marker: str, kind: str) -> None:
    """UsageError unless `path` is nothing, an empty folder, or a folder of this kind, which is known by its file `marker`."""
    if not path.exists() or (path / marker).is_file() or (path.is_dir() and not any(path.iterdir())):
        return
    raise UsageError(f"{path} exists and is no {kind}; give another output folder")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; when the block ends well, it takes the place of `path`, otherwise it goes. Folders above it are made.
    OutputError if it cannot be written, UsageError if something else than a file is there."""
    place = path.resolve()
    check_file(path)
    with named_failure(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_by_the_dead(path)
        new = _beside(path, f"{_this_process()}-{next(_numbers)}.new")
        try:
            with new.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(place)
            _flush(place.parent)
        finally:
            new.unlink(missing_ok=True)


def is_path(text: str) -> bool:
    """Whether a text that may be a name or a path is a path: something is there, or it names a folder on the way."""
    return "/" in text or os.sep in text or os.path.exists(text)


def check_file(path: Path) -> None:
    """UsageError unless `path` is nothing or an ordinary file."""
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise UsageError(f"{path} is no ordinary file; give another output file")


def check_apart(output: Path, *inputs: Path | str | None) -> None:
    """UsageError where writing `output` would destroy one of the inputs, links followed: it is the input, a folder above it, or
    a file inside it. None and what is no path count as none."""
    place = output.resolve()
    for one in inputs:
        if not one or not os.path.exists(one):  # Path.exists raises where a text is no path at all
            continue
        source = Path(one).resolve()
        if place == source or place in source.parents or (source in place.parents and place.is_file()):
            raise UsageError(f"writing {output} would destroy the input {one}; give another output")


def write_text(path: Path, text: str) -> None:
    """Writes a file of text. OutputError as for `new_file`."""
    with new_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a file with one JSON object. OutputError as for `new_file`."""
    write_text(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file with one JSON object a line. OutputError as for `new_file`."""
    with new_file(path) as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line with one JSON object to a file, which is made. OutputError if it cannot be written: then the file is as it
    was."""
    with named_failure(path), path.open("a+b", buffering=0) as file:
        drop_cut_line(file)
        append_whole(file, json.dumps(record).encode() + b"\n")


def whole_lines(data: bytes) -> bytes:
    """The content of a file to which lines are added, without a last line whose end a crash cut off."""
    return data[: data.rfind(b"\n") + 1]


def drop_cut_line(file: FileIO) -> None:
    """Takes a last line whose end a crash cut off from an unbuffered file, so that what is added begins a line."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(len(whole_lines(file.readall())))


def append_whole(file: FileIO, line: bytes) -> None:
    """Writes at the end of an unbuffered file; where that fails with an OSError, nothing of the line is left."""
    end = file.seek(0, os.SEEK_END)
    try:
        left = memoryview(line)
        while left:
            left = left[file.write(left) or 0 :]
    except OSError:
        file.truncate(end)
        raise


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock of a file or folder, which need not exist, against other processes and threads; whoever holds it may take
    it again.

    `on_wait` is called if it is held by another, and may raise instead of waiting. The system releases the lock of a process
    that dies.
    """
    file = _beside(path, "lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, is_singleton=True)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if on_wait:
            on_wait()
        held = lock.acquire()
    with held:
        try:
            yield
        finally:
            if lock.lock_counter == 1:
                with suppress(OSError):
                    file.unlink()  # whoever waits for it notices, and makes a new one


_numbers = itertools.count()


def _this_process() -> str:
    return f"{_host()}-{os.getpid()}-{_started(os.getpid())}"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _started(process: int) -> str | None:
    """When a process began, in the system's own count; None if there is no such process, "0" where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # there is one, of another user
    return "0"


def _remove_left_by_the_dead(path: Path) -> None:
    """What processes of this machine that were killed while they wrote `path` left beside it."""
    place = path.resolve()
    pattern = re.compile(rf"\.{re.escape(place.name)}\.{_host()}-(\d+)-(\d+)-\d+\.new")
    for found in os.scandir(place.parent):
        if (parts := pattern.fullmatch(found.name)) and _started(int(parts[1])) != parts[2]:
            with suppress(OSError):
                os.unlink(found)


def _beside(path: Path, ending: str) -> Path:
    place = path.resolve()
    return place.with_name(f".{place.name}.{ending}")


def _clean_up(target: Path) -> None:
    """The older folder goes, or comes back if there is no new one: after a failure, or what a killed process left."""
    old, place = _beside(target, "old"), target.resolve()
    if old.exists() and not place.exists():
        old.rename(place)
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Whether both have changed places in one step, so that no moment is without either: renameat2(2) of Linux. False where
    the system or the file system cannot."""
    if not (rename := getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None):
        return False
    at_working_folder, exchange = -100, 2  # AT_FDCWD of fcntl.h, RENAME_EXCHANGE of linux/fs.h
    return not rename(at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other), exchange)


def _carry_over(old: Path, new: Path, own: Collection[str]) -> None:
    """Gives `new` what stands in `old` and is none of its `own` files, as it is: links to the same files, which take no room
    and leave `old` whole until both change places."""
    found = sorted(old.iterdir()) if old.is_dir() else []
    others = [path for path in found if not any(fnmatchcase(path.name, name) for name in own)]
    kept = [path for path in others if not (new / path.name).exists()]
    for path in kept:
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link)
            for folder, _, _ in os.walk(new / path.name):
                _flush(Path(folder))
        else:
            _link(path, new / path.name)
    if kept:
        _flush(new)


def _link(source: str | Path, target: str | Path) -> None:
    """A second name for a file; a copy where the file system has none, and of a link."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)
        if not os.path.islink(target):
            _flush(Path(target))


@contextmanager
def _passing(folder: Path) -> Iterator[Path]:
    """An empty folder that goes when the block ends."""
    _remove(folder)
    try:
        folder.mkdir()
        yield folder
    finally:
        with _signals_wait():
            _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Gives all files the permissions of an ordinary new one, which safetensors and tempfile do not, and waits until they are
    on the disk."""
    readable = folder.stat().st_mode & 0o666
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | readable)
            _flush(path)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    if os.name == "nt":  # which flushes only what is open for writing, and no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM that arrive in the block act when it has ended. Python acts on signals in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _frame: arrived.append(number))
        yield
    finally:
        # Python loses a signal that comes while its handler is exchanged; blocked, it comes afterwards.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, handlers) if hasattr(signal, "pthread_sigmask") else None
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def named_failure(target: Path) -> Iterator[None]:
    """OutputError for what the system says, and for what safetensors says in its place."""
    try:
        yield
    except OutputError as error:
        raise OutputError(target, error.reason) from error.__cause__
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise OutputError(target, reason) from error
