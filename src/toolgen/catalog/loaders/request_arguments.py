"""The arguments of an operation of an OpenAPI description: from path, query, header, cookie and body, with how each is sent.

Knows no tool: `openapi` makes one of what is read here, and `catalog.http_request` writes requests from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolgen.catalog.http_request import is_of_connection
from toolgen.catalog.loaders.common import shortened
from toolgen.catalog.loaders.path_templates import PathTemplate, settle_path
from toolgen.catalog.loaders.references import References, Target
from toolgen.catalog.loaders.schema_writer import SchemaWriter
from toolgen.catalog.normalization import without_secrets
from toolgen.catalog.request_body import MULTIPART, URLENCODED, best_type, is_form, is_json, media_type, takes_values
from toolgen.catalog.schema import MAX_DEPTH, Schema
from toolgen.catalog.tool import JsonObject
from toolgen.foreign.data import Note

BODY_LIMIT = 6_000  # characters of the schema of a body; a model with a short context reads it
ARGUMENT_LIMIT = 1_500  # of one other argument

_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.1.1, 4.8.12.1
_DEFAULT_STYLE = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_COLLECTIONS = {
    "csv": "form",
    "ssv": "spaceDelimited",
    "tsv": "tabDelimited",
    "pipes": "pipeDelimited",
    "multi": "form",
}
_TEXT_FLAGS = {"true": True, "yes": True, "false": False, "no": False}
_NO_SCHEMA = frozenset({"name", "in", "required", "description", "collectionFormat", "allowEmptyValue", "style", "explode",
                        "allowReserved", "example", "examples", "deprecated", "schema", "content", "encoding"})  # fmt: skip
_SCHEMA_SIGNS = frozenset({"type", "enum", "items", "properties", "format", "pattern", "minimum", "maximum", "default",
                           "allOf", "anyOf", "oneOf"})  # fmt: skip
# What an object may not say if its properties are to be arguments beside others.
_WHOLE = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "$ref", "enum", "const", "patternProperties", "propertyNames",
                    "maxProperties", "dependentRequired", "dependentSchemas"})  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One argument before names are settled. `wire` says how it is sent where that is not the default of its place."""

    name: str
    place: str
    schema: Schema
    required: bool
    size: int
    wire: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """The arguments that make the body, how it is sent, and the schema of further members that it takes, if any."""

    arguments: Sequence[Argument] = ()
    how: JsonObject | None = None
    additional: bool | Schema | None = None


@dataclass(frozen=True)
class Request:
    """All arguments of an operation in the order in which they are declared, its path with templates settled, and its
    body without the arguments."""

    arguments: Sequence[Argument]
    path: str
    body: JsonObject | None
    additional: bool | Schema | None


@dataclass(frozen=True)
class Owner:
    """A path or an operation, and the document that its relative references start from."""

    value: JsonObject
    base: str


class ArgumentReader:
    """Reads the arguments of the operations of one description. `old` says that it is Swagger 2.0. What is repaired is told to
    `note`, arguments that are lost to `lose`."""

    def __init__(
        self, document: JsonObject, references: References, schemas: SchemaWriter, note: Note, lose: Note, *, old: bool
    ) -> None:
        self._document, self._references, self._schemas, self._note = document, references, schemas, note
        self._lose, self._old = lose, old
        self._parameters: dict[tuple[str, str], Argument | None] = {}
        self._credentials = self._headers_of_credentials()

    def read(self, path: str, owners: Sequence[Owner]) -> Request:
        """The request of one operation. `owners` are where it may say something, the operation last."""
        found, old_body = self._declared(owners)
        template = settle_path(path, [argument.name for argument in found.values() if argument.place == "path"])
        self._match(template, found)
        arguments = [one for one in found.values() if one.place in _DEFAULT_STYLE]
        forms = [one for one in found.values() if one.place == "body"]
        operation = owners[-1]
        if forms:
            body = Body([replace(one, wire={}) for one in forms], self._form(operation.value, forms))
        elif self._old:
            body = self._old_body(old_body, operation.value)
        else:
            body = self._body(operation.value.get("requestBody"), operation.base)
        return Request([*arguments, *body.arguments], template.path, body.how, body.additional)

    def _declared(self, owners: Sequence[Owner]) -> tuple[dict[tuple[str, str], Argument], Owner | None]:
        """The parameters by name and place, those of the operation instead of those of its path, and Swagger's body."""
        found: dict[tuple[str, str], Argument] = {}
        old_body: Owner | None = None
        for owner in owners:
            for target in self._listed(owner):
                declared = target.value
                if target.problem:
                    self._lose(f"a parameter was left out: {target.problem}")
                elif not isinstance(declared, Mapping) or not text_of(declared.get("name")):
                    self._note("a parameter without a name was left out")
                elif self._old and declared.get("in") == "body":
                    old_body = Owner(declared, target.base)
                elif argument := self._parameter(declared, target.base, target.pointer):
                    name = argument.name.lower() if argument.place == "header" else argument.name
                    found[name, argument.place] = argument
        return found, old_body

    def _listed(self, owner: Owner) -> Iterator[Target]:
        """The parameters of a path or operation. Those of an object, where a list was expected, have its keys as names."""
        listed = self._references.follow(owner.value.get("parameters"), owner.base)
        if listed.problem:
            yield listed
        elif isinstance(listed.value, list):
            yield from (self._references.follow(raw, listed.base) for raw in listed.value)
        elif isinstance(listed.value, Mapping):
            self._note("'parameters' is an object where a list was expected; its keys were taken as names")
            for name, raw in listed.value.items():
                target = self._references.follow(raw, listed.base)
                if isinstance(target.value, Mapping):
                    target = replace(target, value={"name": name, **target.value}, pointer="")
                yield target
        elif listed.value is not None:
            self._note(f"'parameters' is {type(listed.value).__name__} where a list was expected; left out")

    def _match(self, template: PathTemplate, found: dict[tuple[str, str], Argument]) -> None:
        """Brings the templates of the path and the declared parameters together."""
        names = [*template.names, *(name for name in template.in_query if (name, "path") in found)]
        for name, place in [key for key in found if key[1] == "path" and key[0] not in names]:
            self._note(f"the path has no place for the parameter {name!r}; it was left out")
            del found[name, place]
        for name in names:
            if (name, "path") not in found:
                self._note(f"the path's {name!r} is not declared; taken as a text")
                found[name, "path"] = Argument(name, "path", {"type": "string"}, True, 20)
            if how := template.wire.get(name):
                argument = found[name, "path"]
                found[name, "path"] = replace(argument, wire={**how, **argument.wire})
        for name in template.query:
            if (name, "query") not in found:
                self._note(f"the query's {name!r} is not declared; taken as a text")
                found[name, "query"] = Argument(name, "query", {"type": "string"}, False, 20)

    def _parameter(self, declared: JsonObject, base: str, pointer: str) -> Argument | None:
        """One parameter; those that many operations refer to are worked out once."""
        key = (base, pointer)
        if not pointer or key not in self._parameters:
            argument = self._new_parameter(declared, base)
            if not pointer:
                return argument
            self._parameters[key] = argument
        return self._parameters[key]

    def _new_parameter(self, declared: JsonObject, base: str) -> Argument | None:
        name, place = text_of(declared.get("name")), text_of(declared.get("in")).lower()
        if place == "formdata" and self._old:
            place = "body"
        elif place not in _DEFAULT_STYLE:
            self._note(f"the parameter {name!r} is in {place!r}, which is no place of a request; it was left out")
            return None
        if place == "header" and name.lower() in _IGNORED_HEADERS:
            return None  # the specification says so: they are set by other means
        if place == "header" and is_of_connection(name):
            self._note(f"the header {name!r} is one of the connection and no argument; it was left out")
            return None
        if place == "header" and name.lower() in self._credentials:
            self._note(f"the header {name!r} is a credential and no argument; whoever calls the tool gives it")
            return None
        schema, wire = self._parameter_schema(declared, name, place, base)
        written = self._schemas.fit(schema, ARGUMENT_LIMIT, base, name=name)
        described = dict(without_secrets(name, written.schema, self._note))
        if text := text_of(declared.get("description")):
            described["description"] = text = shortened(text, ARGUMENT_LIMIT)
        required = self._flag(declared, f"the parameter {name!r}") is True or place == "path"
        return Argument(name, place, described, required, written.size + len(text) + 18, wire)

    def _flag(self, declared: JsonObject, what: str) -> bool | None:
        """What `required` says, also as a text; None if it says nothing that can be understood."""
        value = declared.get("required")
        if value is None or isinstance(value, bool):
            return value
        meant = _TEXT_FLAGS.get(text_of(value).lower())
        taken = "left out" if meant is None else f"taken as {str(meant).lower()}"
        self._note(f"{what} has {value!r:.40} for 'required', which is neither true nor false; {taken}")
        return meant

    def _parameter_schema(self, declared: JsonObject, name: str, place: str, base: str) -> tuple[Any, JsonObject]:
        """The schema of a parameter, and how it is sent if not in the default way."""
        content = mapping_of(self._references.follow(declared.get("content"), base).value)
        if content and "schema" not in declared and not self._old:
            kind, media = next(iter(content.items()))
            return self._media_schema(media, base), {"content": str(kind)}
        schema = self._schema_of(declared, f"the parameter {name!r}")
        collection = text_of(declared.get("collectionFormat"))
        if self._old or (collection and "style" not in declared):
            if mapping_of(schema).get("type") == "file":
                schema = {**mapping_of(schema), "type": "string", "format": "binary"}
            if mapping_of(schema).get("type") != "array":
                return schema, {}
            style, inner = _COLLECTIONS.get(collection, "form"), _inner_styles(schema)
            if place in ("path", "header"):
                return schema, inner | ({} if style == "form" else {"style": style})
            return schema, {"style": style, "explode": collection == "multi"} | inner
        wire: dict[str, Any] = {}
        style = text_of(declared.get("style"))
        if style and style != _DEFAULT_STYLE[place]:
            wire["style"] = style
        exploded = declared.get("explode")
        if isinstance(exploded, bool) and exploded != ((style or _DEFAULT_STYLE[place]) == "form"):
            wire["explode"] = exploded
        if declared.get("allowReserved") is True and place in ("query", "path"):
            wire["allowReserved"] = True
        return schema, wire

    def _headers_of_credentials(self) -> frozenset[str]:
        """The names of the headers that are API keys, in small letters."""
        components = self._document if self._old else mapping_of(self._document.get("components"))
        schemes = self._references.follow(components.get("securityDefinitions" if self._old else "securitySchemes"))
        found = [
            mapping_of(self._references.follow(one, schemes.base).value) for one in mapping_of(schemes.value).values()
        ]
        return frozenset(text_of(one.get("name")).lower() for one in found if one.get("in") == "header")

    def _schema_of(self, owner: JsonObject, what: str) -> Any:
        """The schema of a parameter or body. Swagger 2.0 has it among the keys of a parameter, OpenAPI 3 under `schema`; of
        a description that takes the one for the other, what it says is taken."""
        inline = {key: value for key, value in owner.items() if key not in _NO_SCHEMA and not str(key).startswith("x-")}
        expected = self._old and owner.get("in") != "body"
        if "schema" in owner:
            if expected:
                self._note(f"{what} has its schema under 'schema', as in OpenAPI 3; it was taken")
            return owner["schema"]
        if not inline.keys() & _SCHEMA_SIGNS:
            return inline if expected else None
        if not expected:
            self._note(f"{what} has its schema beside its other keys instead of under 'schema'; it was taken")
        return inline

    def _media_schema(self, media: Any, base: str) -> Any:
        return self._schema_of(mapping_of(self._references.follow(media, base).value), "a media type")

    def _form(self, operation: JsonObject, forms: Sequence[Argument]) -> JsonObject:
        """How the form of Swagger 2.0 is sent."""
        consumes = texts_of(operation.get("consumes")) or texts_of(self._document.get("consumes"))
        files = any(one.schema.get("format") == "binary" for one in forms)
        kinds = [media_type(kind) for kind in consumes]
        kind = MULTIPART if files or (MULTIPART in kinds and URLENCODED not in kinds) else URLENCODED
        encoding = {one.name: dict(one.wire) for one in forms if one.wire}
        return {"type": kind} | ({"encoding": encoding} if encoding else {})

    def _old_body(self, declared: Owner | None, operation: JsonObject) -> Body:
        """The body parameter of Swagger 2.0."""
        if declared is None:
            return Body()
        parameter = declared.value
        consumes = texts_of(operation.get("consumes")) or texts_of(self._document.get("consumes"))
        kind = best_type(consumes) or "application/json"
        schema = self._schema_of(parameter, "the body")
        description = text_of(parameter.get("description"))
        required = self._flag(parameter, "the body") is not False
        return self._body_of(schema, {"type": kind}, required, declared.base, description)

    def _body(self, request_body: Any, base: str) -> Body:
        target = self._references.follow(request_body, base)
        described = mapping_of(target.value)
        content = self._references.follow(described.get("content"), target.base)
        kinds = mapping_of(content.value)
        kind = best_type([str(name) for name in kinds])
        if problem := target.problem or content.problem:
            self._lose(f"the body was left out: {problem}")
        elif not kinds and request_body is not None:
            self._note("the body has no content; it was left out")
        if not kinds:
            return Body()
        media = self._references.follow(kinds[kind], content.base)
        if media.problem:
            self._lose(f"arguments of the body are not known: {media.problem}")
        kind = kind or "application/json"  # an empty name of a media type
        how: dict[str, Any] = {"type": kind}
        if is_form(kind) and (encoding := _encoding(mapping_of(media.value).get("encoding"))):
            how["encoding"] = encoding
        schema = self._schema_of(mapping_of(media.value), "a media type")
        required = self._flag(described, "the body") is not False
        return self._body_of(schema, how, required, media.base, text_of(described.get("description")))

    def _body_of(self, schema: Any, how: JsonObject, required: bool, base: str, description: str) -> Body:
        """The properties of a body that is an object, else the body as one argument."""
        kind = how["type"]
        self._lose_parts(schema, base)
        written = self._schemas.fit(schema, BODY_LIMIT, base, name="body")
        body = written.schema
        inlined = is_json(kind) or is_form(kind)
        types = body.get("type", "object")
        is_object = types == "object" or (isinstance(types, list) and set(types) == {"object", "null"})
        if inlined and is_object and body.get("properties") and not body.keys() & _WHOLE:
            needed = body.get("required", ()) if required else ()
            inner = [Argument(name, "body", one, name in needed, 0) for name, one in body["properties"].items()]
            inner[0] = replace(inner[0], size=written.size)
            return Body(inner, how, body.get("additionalProperties"))
        if not takes_values(kind) and types in ("object", "array"):
            self._note(f"a body of {media_type(kind)} is not written from values; a call has to give it as a text")
        if not inlined and "type" not in body:
            body = {"type": "string"} | body
        if description and "description" not in body:
            body = body | {"description": description[:ARGUMENT_LIMIT]}
        return Body([Argument("body", "body", body, required, written.size)], {**how, "whole": True})

    def _lose_parts(self, schema: Any, base: str) -> None:
        """Tells what of the schema of a body no reference leads to: the whole, or parts of its `allOf`."""
        whole = self._references.follow(schema, base)
        parts = mapping_of(whole.value).get("allOf")
        inner = [self._references.follow(one, whole.base) for one in (parts if isinstance(parts, list) else ())]
        for problem in dict.fromkeys(part.problem for part in (whole, *inner) if part.problem):
            self._lose(f"arguments of the body are not known: {problem}")


def _inner_styles(schema: Any) -> dict[str, Any]:
    """How the lists inside a list of Swagger 2.0 are joined, from the outermost on; csv is the default."""
    styles: list[str] = []
    inner = mapping_of(mapping_of(schema).get("items"))
    while inner.get("type") == "array" and len(styles) < MAX_DEPTH:
        styles.append(_COLLECTIONS.get(text_of(inner.get("collectionFormat")), "form"))
        inner = mapping_of(inner.get("items"))
    return {"inner": styles} if styles else {}


def _encoding(declared: Any) -> dict[str, JsonObject]:
    """What `encoding` says of the fields of a form, as far as requests are written by it."""
    kept = {
        str(name): {key: how[key] for key in ("contentType", "style", "explode") if key in how}
        for name, how in mapping_of(declared).items()
        if isinstance(how, Mapping)
    }
    return {name: how for name, how in kept.items() if how}


def mapping_of(value: Any) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """The value if it is a text or number, else an empty text."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def texts_of(value: Any) -> list[str]:
    """The texts of a list; of anything else none."""
    return [text for one in (value if isinstance(value, list) else ()) if (text := text_of(one))]
