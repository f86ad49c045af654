"""JSON and YAML documents from a file, folder, archive or address, read with bounds on time and memory.

Archives are read, never unpacked. YAML is read by the core schema of YAML 1.2, which OpenAPI asks for: `no` is a text and a
date too. Knows no meaning of a document.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from toolgen.catalog.loaders.report import Loss
from toolgen.errors import InputError
from toolgen.fetching.wheels import is_inside
from toolgen.foreign.data import (
    Note,
    decode,
    open_file,
    parse_json,
    read_bytes,
)
from toolgen.foreign.web import download, is_url, shown_url
from toolgen.foreign.yaml_core import parse_yaml

MB = 1 << 20
MAX_DOCUMENT_BYTES = 96 * MB  # the largest published description that we know of has 40 MB
MAX_ARCHIVE_BYTES = 4096 * MB  # unpacked
MIN_ARCHIVE_BYTES = 128 * MB  # what any archive may hold unpacked, however small it is
MAX_EXPANSION = 60  # otherwise: times its packed size; descriptions shrink to a tenth, bombs to a thousandth
MAX_DOCUMENTS = 100_000
SUFFIXES = (".json", ".yaml", ".yml")
_ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar")


@dataclass(frozen=True)
class RawDocument:
    """An unparsed document. `base` is the address that its relative references start from; empty inside an archive."""

    name: str
    data: bytes
    base: str


@dataclass(frozen=True)
class Documents:
    """The documents of a place, one at a time, and what could not be read. `single` says that the place is one document."""

    single: bool
    items: Iterator[RawDocument | Loss]


def read_documents(place: str | Path) -> Documents:
    """All documents of a file, folder, archive (.zip, .tgz, .tar.gz, .tar) or http(s) address.

    InputError if the place as a whole cannot be read; one document that cannot be read is a Loss among the others.
    """
    text = str(place)
    if is_url(text):
        return _of_url(text)
    path = Path(text)
    try:
        if path.is_dir():
            return Documents(False, _of_folder(path))
        if not path.exists():
            raise InputError(f"there is no file or folder {text!r}; expected a document, a folder, an archive or a URL")
        if path.name.lower().endswith(_ARCHIVES):
            return Documents(False, _of_archive(open_file(path), path.name))
        return Documents(True, iter([RawDocument(path.name, _read(path), path.resolve().as_uri())]))
    except OSError as error:
        raise InputError(f"cannot read {text!r}: {error}") from error


def parse_document(data: bytes, name: str, *, on_note: Note | None = None) -> Any:
    """The JSON value of a document in JSON or YAML; InputError says in one line what it is not.

    A key that occurs twice in one object, which both forbid, is told to `on_note`: two objects become one with the members
    of both, of anything else the later is taken.
    """
    note = on_note or (lambda _line: None)
    text = decode(data, name)
    start = text[:1000].lstrip()[:1]
    if not start:
        raise InputError(f"{name}: the document is empty")
    if start not in "{[":
        return parse_yaml(text, name, note)
    try:
        return parse_json(text, name, note)
    except InputError:
        if not name.lower().endswith((".yaml", ".yml")):
            raise
    return parse_yaml(text, name, note)


def _read(path: Path) -> bytes:
    return read_bytes(path, MAX_DOCUMENT_BYTES)


def _of_url(url: str) -> Documents:
    got = download(url, MAX_DOCUMENT_BYTES, trusted=True)
    name = PurePosixPath(urlsplit(got.url).path).name or str(urlsplit(got.url).hostname)
    if name.lower().endswith(_ARCHIVES):
        return Documents(False, _of_archive(io.BytesIO(got.data), name))
    return Documents(True, iter([RawDocument(shown_url(url), got.data, got.url)]))


def _of_folder(folder: Path) -> Iterator[RawDocument | Loss]:
    root = folder.resolve()
    unreadable: list[OSError] = []
    count = 0
    for current, folders, names in os.walk(root, onerror=unreadable.append):
        folders.sort()
        for name in sorted(name for name in names if name.lower().endswith(SUFFIXES)):
            count += 1
            if count > MAX_DOCUMENTS:
                yield Loss(str(folder.name), f"more than {MAX_DOCUMENTS:,} documents; the rest was not read")
                return
            yield _of_file(Path(current) / name, root)
    for error in unreadable:
        yield Loss(Path(str(error.filename)).name, f"the folder cannot be read: {error.strerror}")


def _of_file(path: Path, root: Path) -> RawDocument | Loss:
    name = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            return Loss(name, "a link that leads out of the folder; it was not followed")
        return RawDocument(name, _read(path), path.as_uri())
    except (InputError, OSError, RuntimeError) as error:
        return Loss(name, f"cannot be read: {error}")


@dataclass(frozen=True)
class _Member:
    """A file in an archive; `handle` is what opens it, `plain` that it is a regular file."""

    name: str
    size: int
    plain: bool
    handle: Any


def _of_archive(file: IO[bytes], name: str) -> Iterator[RawDocument | Loss]:
    """The documents of an archive. What is wrong with the archive itself ends it with a loss."""
    with file:
        try:
            packed = file.seek(0, os.SEEK_END)
            file.seek(0)
            limit = min(MAX_ARCHIVE_BYTES, max(MIN_ARCHIVE_BYTES, MAX_EXPANSION * packed))
            opened = _zip_members(file) if name.lower().endswith(".zip") else _tar_members(file, limit)
            yield from _read_members(opened, limit)
        except InputError as error:
            yield Loss(name, str(error))
        except (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
            yield Loss(name, f"the archive is damaged or of another kind: {' '.join(str(error).split())[:200]}")


def _read_members(members: Iterator[tuple[_Member, Any]], limit: int) -> Iterator[RawDocument | Loss]:
    total = 0
    for count, (member, archive) in enumerate(members):
        total += member.size
        if total > limit or count > 2 * MAX_DOCUMENTS:
            raise InputError(
                f"unpacked it is larger than {limit // MB:,} MB or has too many files; the rest was not read"
            )
        if not member.name.lower().endswith(SUFFIXES):
            continue
        shown = member.name.replace("\0", "").encode("utf-8", "replace").decode()
        if not is_inside(member.name):
            yield Loss(shown, "its path leads out of the archive; it was not read")
        elif not member.plain:
            yield Loss(shown, "a link or a device in an archive; it was not followed")
        elif member.size > MAX_DOCUMENT_BYTES:
            size = f"{member.size // MB:,} MB; at most {MAX_DOCUMENT_BYTES // MB} MB are read"
            yield Loss(shown, f"the document has {size}")
        else:
            try:
                with _open_member(archive, member) as source:
                    data = source.read(member.size)
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
                yield Loss(shown, f"cannot be unpacked: {error}")
                continue
            yield RawDocument(shown, data, "")


def _zip_members(file: IO[bytes]) -> Iterator[tuple[_Member, Any]]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            plain = not stat.S_ISLNK(mode)
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, plain, info), archive


def _tar_members(file: IO[bytes], limit: int) -> Iterator[tuple[_Member, Any]]:
    """A compressed archive is unpacked into one nameless temporary file first: its headers can then be read in bounds."""
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with tempfile.TemporaryFile() as whole:
        if compressed:
            _unpack_gzip(file, whole, limit)
        bounded: Any = _BoundedReads(whole if compressed else file)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            for info in archive:
                if not info.isdir():
                    yield _Member(info.name, info.size, info.isreg(), info), archive


def _open_member(archive: Any, member: _Member) -> IO[bytes]:
    if isinstance(archive, zipfile.ZipFile):
        return archive.open(member.handle)
    opened: IO[bytes] | None = archive.extractfile(member.handle)
    if opened is None:
        raise RuntimeError("not a file")
    return opened


def _unpack_gzip(file: IO[bytes], whole: IO[bytes], limit: int) -> None:
    size = 0
    with gzip.open(file) as source:
        while chunk := source.read(MB):
            size += len(chunk)
            if size > limit:
                raise InputError(f"unpacked it is larger than {limit // MB:,} MB; nothing was read")
            whole.write(chunk)
    whole.seek(0)


class _BoundedReads:
    """A file of which no more than one document is read at once: a tar header can claim any length for a name."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_DOCUMENT_BYTES + MB:
            raise InputError("the archive has a header of impossible length")
        return self._file.read(size)
