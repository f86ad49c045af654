"""References are followed where they lead somewhere, and schemas end where the budget does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.references import MAX_FOREIGN_ADDRESSES, References
from toolgen.catalog.loaders.schema_writer import MAX_HOPS, SchemaWriter
from toolgen.catalog.schema import check_schema
from toolgen.foreign.web import Download


def writer(document: Any, notes: list[str] | None = None, base: str = "", **options: Any) -> SchemaWriter:
    note = (notes if notes is not None else []).append
    return SchemaWriter(References(document, base, note, **options), note)


def depth(schema: Any, name: str) -> int:
    inner = schema.get("properties", {}).get(name)
    return 0 if inner is None else 1 + depth(inner, name)


def test_a_pointer_is_unescaped_and_goes_through_lists() -> None:
    document = {"a/b": {"~c d": [{"type": "string"}]}}
    assert writer(document).fit({"$ref": "#/a~1b/~0c%20d/0"}, 100).schema == {"type": "string"}


def test_a_schema_that_refers_to_itself_is_cut() -> None:
    document = {"node": {"type": "object", "description": "a node", "properties": {"next": {"$ref": "#/node"}}}}
    written = writer(document).fit({"$ref": "#/node"}, 10_000).schema
    assert depth(written, "next") == MAX_HOPS + 1
    check_schema(written)
    innermost = written
    while "properties" in innermost:
        innermost = innermost["properties"]["next"]
    assert innermost == {"type": "object", "description": "a node"}


def test_references_in_a_circle_end_with_anything() -> None:
    notes: list[str] = []
    document = {"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}
    assert writer(document, notes).fit({"$ref": "#/a"}, 100).schema == {}
    assert References(document, "", notes.append).follow({"$ref": "#/a"}).value is None
    assert set(notes) == {"references that lead only to references; anything is allowed there"}


def test_a_schema_is_written_as_deep_as_the_budget_allows() -> None:
    document = {
        f"s{n}": {"type": "object", "properties": {"x": {"$ref": f"#/s{n + 1}"}, "y": {"type": "string"}}}
        for n in range(5)
    } | {"s5": {"type": "integer"}}
    schemas = writer(document)
    sizes = [len(json.dumps(schemas.fit({"$ref": "#/s0"}, limit).schema)) for limit in (5000, 250, 100, 10)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) >= 3
    assert sizes[1] <= 250


def test_a_schema_that_doubles_at_every_level_stays_small() -> None:
    document = {
        f"s{n}": {"type": "object", "properties": {p: {"$ref": f"#/s{n + 1}"} for p in "abcdefghij"}} for n in range(40)
    }
    written = writer(document).fit({"$ref": "#/s0"}, 5000)
    assert len(json.dumps(written.schema)) <= 5000


def test_descriptions_are_left_out_before_properties() -> None:
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "description": "x" * 100} for n in range(20)},
    }
    written = writer({}).fit(schema, 1000).schema
    assert len(written["properties"]) == 20 and "description" not in written["properties"]["p0"]


def test_inheritance_becomes_one_object_and_a_lone_part_that_part() -> None:
    document = {"base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}
    both = {"allOf": [{"$ref": "#/base"}, {"properties": {"name": {"type": "string"}}}], "description": "d"}
    assert writer(document).fit(both, 1000).schema == {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
        "description": "d",
        "required": ["id"],
    }
    alone = {"allOf": [{"$ref": "#/base"}], "description": "d"}
    assert writer(document).fit(alone, 1000).schema == document["base"] | {"description": "d"}
    other = {"allOf": [{"$ref": "#/base"}, {"additionalProperties": False}]}
    assert "allOf" in writer(document).fit(other, 1000).schema


def test_what_stands_beside_a_reference_counts() -> None:
    document = {"s": {"type": "string", "description": "old"}}
    assert writer(document).fit({"$ref": "#/s", "description": "new"}, 99).schema == {
        "type": "string",
        "description": "new",
    }
    assert writer(document).fit({"$ref": "#/s", "maxLength": 3}, 99).schema == {
        "allOf": [document["s"], {"maxLength": 3}]
    }


def test_a_reference_that_leads_nowhere_is_noted_once_and_anything_is_allowed() -> None:
    notes: list[str] = []
    schemas = writer({"list": [1]}, notes)
    for reference in ("#/missing", "#/missing", "#/list/x", "#/list/7", "#anchor", "#/list/0/deeper"):
        assert schemas.fit({"$ref": reference}, 100).schema == {}
    assert len(notes) == 5 and all("leads nowhere" in note or "expected a schema" in note for note in notes)


@pytest.mark.parametrize(
    "reference", ["other.json#/a", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x", "../up.yaml", "//host/x"]
)
def test_references_to_other_documents_are_refused_by_default(reference: str, tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "other.json").write_text('{"a": {"type": "string"}}')
    base = (tmp_path / "api.json").as_uri()
    assert writer({}, notes, base).fit({"$ref": reference}, 100).schema == {}
    assert len(notes) == 1 and "not followed without --allow-references" in notes[0]


def test_files_beside_the_description_are_read_if_allowed_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "api"
    folder.mkdir()
    (tmp_path / "secret.json").write_text('{"type": "string", "description": "secret"}')
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "a.yaml").write_text("s: {$ref: '#/t'}\nt: {type: object, properties: {x: {$ref: 'b.json#/x'}}}")
    (folder / "b.json").write_text('{"x": {"$ref": "a.yaml#/u"}, "y": 1')
    notes: list[str] = []
    schemas = writer({}, notes, (folder / "api.json").as_uri(), allowed=True, root=folder)

    assert schemas.fit({"$ref": "a.yaml#/s"}, 999).schema == {"type": "object", "properties": {"x": {}}}
    assert any("b.json" in note and "not JSON" in note for note in notes)
    for reference in ("../secret.json", (tmp_path / "secret.json").as_uri(), "link.json", "missing.json"):
        assert schemas.fit({"$ref": reference}, 999).schema == {}
    assert sum("not in the description's folder" in note for note in notes) == 3
    assert not any("secret" in str(schemas.fit({"$ref": r}, 99).schema) for r in ("link.json", "../secret.json"))


def test_addresses_in_documents_never_lead_to_this_machine_even_if_allowed() -> None:
    notes: list[str] = []
    schemas = writer({}, notes, "https://example.org/api.json", allowed=True)
    for reference in ("http://127.0.0.1:1/x.json", "http://169.254.169.254/latest", "http://[::1]/x"):
        assert schemas.fit({"$ref": reference}, 100).schema == {}
    assert len(notes) == 3 and all("no public address" in note for note in notes)


def test_other_documents_are_bounded_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(80):
        (tmp_path / f"{number}.json").write_text(json.dumps({"$ref": f"{number + 1}.json"}))
    notes: list[str] = []
    monkeypatch.setattr("toolgen.catalog.loaders.references.MAX_FOREIGN_BYTES", 300)
    references = References({}, (tmp_path / "api.json").as_uri(), notes.append, allowed=True, root=tmp_path)
    for number in range(80):
        references.follow({"$ref": f"{number}.json"})
    assert any("the documents referred to have more than" in note for note in notes)


def test_addresses_that_are_referred_to_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(url: str, _limit: int, *, trusted: bool) -> Any:
        asked.append(url)
        assert not trusted
        return Download(b"{}", url)

    monkeypatch.setattr("toolgen.catalog.loaders.references.download", answer)
    notes: list[str] = []
    references = References({}, "https://example.org/api.json", notes.append, allowed=True)
    for number in range(300):
        references.follow({"$ref": f"{number}.json"})
    assert len(asked) == MAX_FOREIGN_ADDRESSES and any("addresses are referred to" in note for note in notes)


def test_a_pointer_leads_through_references_and_never_round_in_circles() -> None:
    notes: list[str] = []
    document = {"all": {"$ref": "#/real"}, "real": {"pet": {"type": "string"}}, "loop": {"$ref": "#/loop/a"}}
    schemas = writer(document, notes)
    assert schemas.fit({"$ref": "#/all/pet"}, 99).schema == {"type": "string"} and not notes
    assert schemas.fit({"$ref": "#/loop/a"}, 99).schema == {}
    assert len(notes) == 1 and "leads nowhere" in notes[0]
