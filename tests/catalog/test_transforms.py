"""Catalog to catalog: what stays, what goes, and a record of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.transforms import deduplicate, filter_tools, merge, prefix_providers, selector
from toolgen.errors import UsageError


def tool(tool_id: str, **fields: object) -> Tool:
    provider, _, name = tool_id.rpartition("&&")
    return Tool(**{"id": tool_id, "provider": provider, "name": name, **fields})  # type: ignore[arg-type]


CATALOG = Catalog([tool("a.com&&x", description="X."), tool("b.com&&y", category="news"), tool("z")])

names = st.text(min_size=1, max_size=4)
catalogs = st.lists(st.tuples(st.text(max_size=3), names), max_size=8).map(
    lambda pairs: Catalog(
        Tool(id=i, provider=p, name=n)
        for i, (p, n) in zip(unique_ids(f"{p}&&{n}" if p else n for p, n in pairs).ids, pairs, strict=True)
    )
)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("provider:*.com", ("a.com&&x", "b.com&&y")),
        ("category:news", ("b.com&&y",)),
        ("described", ("a.com&&x",)),
        ("^z$", ("z",)),
        ("id:com&&", ("a.com&&x", "b.com&&y")),
    ],
)
def test_a_selector_means_tools_by_provider_category_description_or_id(text: str, ids: tuple[str, ...]) -> None:
    kept = filter_tools(CATALOG, include=[selector(text)])
    assert kept.catalog.ids == ids
    assert set(kept.removed) == set(CATALOG.ids) - set(ids)
    assert filter_tools(CATALOG, exclude=[selector(text)]).catalog.ids == kept.removed


def test_a_selector_that_is_no_regular_expression_says_what_can_be_written() -> None:
    with pytest.raises(UsageError, match="provider:GLOB"):
        selector("(")


@given(catalogs, st.text("ab.&", min_size=1, max_size=3))
def test_a_prefix_keeps_the_number_of_tools_and_leads_from_each_old_id_to_its_new_one(
    catalog: Catalog, prefix: str
) -> None:
    result = prefix_providers(catalog, prefix)
    assert tuple(result.renamed[old] for old in catalog.ids) == result.catalog.ids
    assert all(new.provider.startswith(prefix.rstrip(" .:/_-") or prefix) for new in result.catalog)


def test_a_tool_without_provider_gets_the_prefix_as_its_provider() -> None:
    assert prefix_providers(CATALOG, "acme.").catalog.ids == ("acme.a.com&&x", "acme.b.com&&y", "acme&&z")
    with pytest.raises(UsageError):
        prefix_providers(CATALOG, " ")


@given(st.lists(catalogs, max_size=4))
def test_merging_keeps_every_tool_of_every_catalog(parts: list[Catalog]) -> None:
    merged, renamed = merge(parts)
    assert len(merged) == sum(map(len, parts))
    followed = [changes.get(old, old) for part, changes in zip(parts, renamed, strict=True) for old in part.ids]
    assert followed == list(merged.ids)


def test_only_tools_that_are_equal_but_for_id_and_source_are_merged() -> None:
    first = tool("p&&x", description="X.", source={"file": "1"})
    twin = Tool(**{**first.to_dict(), "id": "p&&x#2", "source": {"file": "2"}})
    other = Tool(**{**first.to_dict(), "id": "p&&x#3", "description": "x."})
    result = deduplicate(Catalog([first, twin, other]))
    assert result.catalog.ids == ("p&&x", "p&&x#3")
    assert result.renamed == {"p&&x#2": "p&&x"} and not result.removed
