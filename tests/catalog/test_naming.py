"""Names: any Unicode in, unique and usable names out."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.naming import (
    TOKEN_PART_LIMIT,
    assign_tokens,
    token_collisions,
    token_for,
    unique_ids,
    wire_name,
    wire_names,
)

# Every code point, lone surrogates too: names come from files that other people wrote.
any_text = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=120)
look_alikes = st.text(st.sampled_from("aA_ <>#é\u0301e\u200b\u202e\n😀&"), min_size=1, max_size=6)


def _catalog(names: list[tuple[str, str]]) -> Catalog:
    ids = unique_ids(f"{provider}&&{name}" for provider, name in names).ids
    return Catalog(Tool(id=i, provider=p, name=n) for i, (p, n) in zip(ids, names, strict=True))


catalogs = st.lists(st.tuples(any_text | look_alikes, any_text | look_alikes), max_size=12).map(_catalog)


@given(catalogs)
def test_every_tool_gets_its_own_token(catalog: Catalog) -> None:
    tokens = assign_tokens(catalog)
    assert list(tokens) == list(catalog.ids)
    assert len(set(tokens.values())) == len(catalog)


@given(catalogs)
def test_a_token_holds_nothing_that_a_tokenizer_could_strip_split_or_refuse(catalog: Catalog) -> None:
    for token in assign_tokens(catalog).values():
        assert token.startswith("<<") and token.endswith(">>")
        assert not set("<>") & set(token[2:-2])
        assert not any(unicodedata.category(c)[0] in "ZC" for c in token)
        assert token.encode("utf-8").decode() == token
        assert unicodedata.is_normalized("NFC", token)
        assert len(token) <= 2 * TOKEN_PART_LIMIT + 80


@given(catalogs)
def test_a_token_does_not_depend_on_the_order_of_the_catalog(catalog: Catalog) -> None:
    assert assign_tokens(Catalog(reversed([*catalog]))) == assign_tokens(catalog)


@given(catalogs)
def test_a_wire_name_is_legal_and_leads_back_to_its_tool(catalog: Catalog) -> None:
    names = wire_names(catalog)
    assert len(names) == len(catalog)
    for tool in catalog:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wire_name(tool))
        assert names[wire_name(tool)] == tool.id


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3"]), max_size=8), st.sets(st.sampled_from(["a", "b", "a#2"])))
def test_unique_ids_are_unique_and_every_change_is_listed(ids: list[str], taken: set[str]) -> None:
    result = unique_ids(ids, taken)
    assert len(set(result.ids)) == len(ids)
    assert not taken & set(result.ids)
    assert result.renamed == tuple((old, new) for old, new in zip(ids, result.ids, strict=True) if old != new)


@given(st.lists(st.text("ab#2", max_size=4), max_size=30))
def test_names_that_were_given_first_keep_their_ids_whatever_comes_after(ids: list[str]) -> None:
    whole = unique_ids(ids).ids
    assert all(unique_ids(ids[:end]).ids == whole[:end] for end in range(len(ids)))
    assert all(new.startswith(old) for old, new in zip(ids, whole, strict=True))


def test_a_hundred_thousand_equal_names_are_told_apart_at_once() -> None:
    assert unique_ids(["a"] * 100_000).ids[-1] == "a#100000"


@pytest.mark.parametrize(
    ("provider", "name", "token"),
    [
        ("math", "factorial", "<<math&&factorial>>"),
        ("", "factorial", "<<factorial>>"),
        # Its letters could be read as bytes: an invisible joiner says that they are text.
        ("Größe der Stadt", "höhe", "<<Größe_der_Stadt&&höhe\u034f>>"),
        ("город", "höhe", "<<город&&höhe>>"),
        ("a▁b", "▁c", "<<a_b&&c>>"),
        ("天气", "预报 今天", "<<天气&&预报_今天>>"),
        ("a<b>", "\x00 ", "<<a_b&&_>>"),
    ],
)
def test_tokens_stay_readable(provider: str, name: str, token: str) -> None:
    assert token_for(Tool(id="x", provider=provider, name=name)) == token


def test_tools_that_would_share_a_token_are_reported_and_told_apart_by_a_hash() -> None:
    catalog = Catalog([Tool(id="1", provider="a", name="b c"), Tool(id="2", provider="a", name="b_c")])
    assert token_collisions(catalog) == {"<<a&&b_c>>": ("1", "2")}
    tokens = assign_tokens(catalog)
    assert all(re.fullmatch(r"<<a&&b_c#[0-9a-f]{6}>>", token) for token in tokens.values())
    assert tokens["1"] != tokens["2"]


def test_a_very_long_name_gives_a_short_token_that_stays_apart() -> None:
    catalog = Catalog([Tool(id=f"{i}", provider="p", name="x" * 10_000 + str(i)) for i in range(3)])
    tokens = assign_tokens(catalog)
    assert len(set(tokens.values())) == 3 and max(map(len, tokens.values())) < 150
