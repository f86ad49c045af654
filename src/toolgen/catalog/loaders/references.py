"""`$ref` in a description: looked up by JSON pointer (RFC 6901), in the document itself or, where that is allowed, in others.
Knows no schema and no operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from toolgen.catalog.loaders.documents import MAX_DOCUMENT_BYTES, parse_document
from toolgen.errors import InputError
from toolgen.foreign.data import Note, read_bytes
from toolgen.foreign.web import download, is_url

ANYTHING = "anything is allowed there"
MAX_CHAIN = 20  # references that lead straight to references
MAX_FOREIGN_BYTES = 256 << 20  # of all other documents that one description refers to
MAX_FOREIGN_ADDRESSES = 100  # of them that are downloaded


@dataclass(frozen=True)
class Target:
    """What a reference leads to. `base` and `pointer` name its place; None for `value`, and the `problem`, if there is
    nothing."""

    value: Any
    base: str
    pointer: str
    problem: str = ""


class References:
    """The references of one document. `base` is the address that relative ones start from.

    Those to other documents are refused, unless `root` is given: then files inside that folder and documents at public
    addresses are read. What leads nowhere is told to `note`.
    """

    def __init__(
        self, document: Any, base: str, note: Note, *, allowed: bool = False, root: Path | None = None
    ) -> None:
        self._documents: dict[str, Any] = {"": document}
        self._base, self._note, self._allowed, self._root = base, note, allowed, root
        self._found: dict[tuple[str, str], Target] = {}
        self._bytes = self._addresses = 0

    @property
    def documents(self) -> set[str]:
        """The addresses of the other documents that were read."""
        return {address for address, document in self._documents.items() if address and document is not None}

    def follow(self, node: Any, base: str = "") -> Target:
        """A node itself, or what its `$ref` leads to, through references to references."""
        found = Target(node, base, "")
        for _ in range(MAX_CHAIN):
            if not isinstance(found.value, Mapping) or not isinstance(found.value.get("$ref"), str):
                return found
            found = self.look_up(found.value["$ref"], found.base)
        problem = "references that lead only to references"
        self._note(f"{problem}; {ANYTHING}")
        return Target(None, found.base, found.pointer, problem)

    def look_up(self, reference: str, base: str = "") -> Target:
        """What a `$ref` names; its value is None if there is nothing."""
        key = (reference, base)
        if key not in self._found:
            nowhere = f"the reference {reference[:120]!r} leads nowhere"
            self._found[key] = Target(None, base, reference, nowhere)  # what a reference through itself finds
            self._found[key] = self._resolve(reference, base, nowhere)
        return self._found[key]

    def _resolve(self, reference: str, base: str, nowhere: str) -> Target:
        place, pointer = urldefrag(reference) if not reference.startswith("#") else ("", reference[1:])
        try:
            return self._at(base if not place else self._foreign(place, base), unquote(pointer))
        except InputError as error:
            problem = str(error)
            self._note(problem)
        except (LookupError, ValueError):
            problem = nowhere
            self._note(f"{problem}; {ANYTHING}")
        return Target(None, base, pointer, problem)

    def _at(self, where: str, pointer: str) -> Target:
        """The value at a JSON pointer, which may lead through references; LookupError if there is none."""
        if pointer and not pointer.startswith("/"):
            raise LookupError(pointer)
        found = Target(self._documents[where], where, "")
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found.value, Mapping) and key not in found.value and "$ref" in found.value:
                found = self.follow(found.value, found.base)
            inner = f"{found.pointer}/{part}"
            if isinstance(found.value, list) and key.isascii() and key.isdigit():
                found = Target(found.value[int(key)], found.base, inner)
            elif isinstance(found.value, Mapping):
                found = Target(found.value[key], found.base, inner)
            else:
                raise LookupError(pointer)
        return found

    def _foreign(self, place: str, base: str) -> str:
        """The key of another document, which is read if that is allowed."""
        if not self._allowed:
            raise InputError(
                f"the reference to another document {place[:120]!r} is not followed without --allow-references"
            )
        start = base or self._base
        if not start and not is_url(place):
            raise InputError(f"the reference {place[:120]!r} is relative, but a document in an archive has no address")
        address = urljoin(start, place)
        if address == self._base:
            return ""
        if address not in self._documents:
            self._documents[address] = None  # not asked again if it cannot be read
            data = self._read(address)
            self._bytes += len(data)
            if self._bytes > MAX_FOREIGN_BYTES:
                raise InputError(
                    f"the documents referred to have more than {MAX_FOREIGN_BYTES >> 20} MB; the rest is not read"
                )
            self._documents[address] = parse_document(data, place[:120], on_note=self._note)
        return address

    def _read(self, address: str) -> bytes:
        if is_url(address):
            self._addresses += 1
            if self._addresses > MAX_FOREIGN_ADDRESSES:
                raise InputError(f"more than {MAX_FOREIGN_ADDRESSES} addresses are referred to; the rest is not read")
            return download(address, MAX_DOCUMENT_BYTES, trusted=False).data
        if self._root is None or not address.startswith("file:"):
            raise InputError(
                f"the reference to {address[:120]!r} is not followed: only files beside the description are read"
            )
        path = Path(url2pathname(urlsplit(address).path)).resolve()
        if not path.is_relative_to(self._root.resolve()) or not path.is_file():
            raise InputError(
                f"the reference to the file {path.name!r} is not followed: it is not in the description's folder"
            )
        return read_bytes(path, MAX_DOCUMENT_BYTES)
