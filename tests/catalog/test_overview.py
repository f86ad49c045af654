"""A catalog in figures, and what is wrong with it."""

from __future__ import annotations

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.overview import catalog_errors, changed_fields, overview

SOUND = Tool(id="p&&a", provider="p", name="a", description="Does a.", category="letters")
BROKEN = Tool(
    id="p&&b",
    provider="p",
    name="b",
    parameters={"type": "object", "properties": {"x": {"type": "dict"}}},
    returns={"type": 5},
    endpoint={"kind": "http"},
)


def test_the_overview_counts_providers_endpoints_and_what_is_missing() -> None:
    seen = overview(Catalog([SOUND, BROKEN]))
    assert (seen.tools, seen.providers, seen.categories) == (2, {"p": 2}, {"letters": 1})
    assert seen.endpoints == {"none": 1, "http": 1}
    assert (seen.without_description, seen.without_parameters, seen.parameters_without_description) == (1, 1, 1)
    assert overview(Catalog()).document_lengths == (0, 0, 0, 0)


def test_invalid_schemas_are_listed_with_tool_and_place() -> None:
    errors = catalog_errors(Catalog([SOUND, BROKEN]))
    assert len(errors) == 2
    assert errors[0].startswith("p&&b: parameters:") and errors[1].startswith("p&&b: returns:")


def test_a_change_names_the_fields_that_differ() -> None:
    old, new = Catalog([SOUND]), Catalog([Tool(**{**SOUND.to_dict(), "description": "Does A.", "source": {"x": 1}})])
    assert changed_fields(old, new, old.diff(new)) == {"p&&a": ["description"]}
