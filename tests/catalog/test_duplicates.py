"""Near duplicates against similarities counted one by one."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.duplicates import near_duplicates
from toolgen.errors import UsageError

WORDS = [f"word{n}" for n in range(400)]


def _tool(name: str, description: str) -> Tool:
    return Tool(id=name, provider="", name=name, description=description)


def _pairs(tool: Tool) -> set[tuple[str, str]]:
    return set(pairwise(tool.description.lower().split()))


def _similarity(first: Tool, second: Tool) -> float:
    return len(_pairs(first) & _pairs(second)) / len(_pairs(first) | _pairs(second))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    rng = random.Random(1)
    texts = [rng.sample(WORDS, 30) for _ in range(60)]
    near = [[*text[: rng.randrange(20, 31)], "changed"] for text in texts[:40]]
    return Catalog(_tool(f"t{n}", " ".join(text)) for n, text in enumerate([*texts, *near]))


def test_every_reported_similarity_is_the_counted_one_and_few_pairs_are_overlooked(catalog: Catalog) -> None:
    report = near_duplicates(catalog, 0.8)
    found = {(group.tool, one.tool): one.similarity for group in report.groups for one in group.duplicates}
    for (leader, member), similarity in found.items():
        assert similarity == pytest.approx(_similarity(catalog.get(leader), catalog.get(member)), abs=1e-4)
        assert similarity >= 0.8
    alike = {(f"t{n}", f"t{n + 60}") for n in range(40) if _similarity(catalog[n], catalog[n + 60]) >= 0.8}
    assert set(found) <= alike and len(found) >= 0.9 * len(alike) > 10


def test_names_do_not_count_and_equal_texts_are_one_group() -> None:
    text = "Deletes a user and all that belongs to it."
    report = near_duplicates(Catalog([_tool("a", text), _tool("b", text), _tool("c", text.upper())]))
    (group,) = report.groups
    assert group.tool == "a" and [(one.tool, one.similarity) for one in group.duplicates] == [("b", 1.0), ("c", 1.0)]


def test_tools_with_too_little_text_are_counted_and_not_compared() -> None:
    report = near_duplicates(Catalog([_tool("a", "Gets it."), _tool("b", "Gets it."), _tool("c", "")]))
    assert not report.groups and report.too_short == 3


def test_thousands_of_tools_that_are_alike_take_no_square_of_time() -> None:
    catalog = Catalog(
        _tool(f"t{n}", f"Deletes the user number n{n} of a group that is in use now") for n in range(3_000)
    )
    start = time.process_time()
    near_duplicates(catalog, 0.9)
    assert time.process_time() - start < 20


def test_a_threshold_that_makes_no_sense_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        near_duplicates(Catalog(), 0.0)
