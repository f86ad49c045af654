"""A catalog that changes: new tools get rows without training, old ones keep theirs, removed ones are never chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from toolgen.catalog import Catalog, Tool, views
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.checkpoint.changes import SPARE
from toolgen.decoding import ToolDecoder
from toolgen.errors import CatalogError, CheckpointError, ToolgenError, UsageError
from toolgen.inference.late_tools import LateRows, add_tools, remove_tools, update_tools
from toolgen.inference.row_maker import RowMaker, bags_of, write_rows
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import ARCHITECTURES, Architecture, tiny_catalog, tiny_checkpoint, tiny_dataset
from toolgen.training import STAGES, StageConfig
from toolgen.training.run import run_stage
from toolgen.virtualization import output_rows

QUERIES = [query.text for query in tiny_dataset().queries["test"]]
EVERY = tuple(tiny_catalog())
TINY: dict[str, Any] = {"steps": 3, "batch_size": 8, "negatives": "all", "max_tokens": 320, "frozen_share": 0.0}


def tool(name: str, description: str = "Feeds the cat of a neighbor", **more: Any) -> Tool:
    return Tool(id=f"pets&&{name}", provider="pets", name=name, description=description, **more)


def built(tools: Sequence[Tool], **settings: Any) -> Checkpoint:
    return tiny_checkpoint(catalog=Catalog(tools), **settings)


def with_maker(checkpoint: Checkpoint) -> Checkpoint:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        maker = RowMaker(checkpoint.model.config.hidden_size)
        torch.nn.init.normal_(maker.map_DD)
    write_rows(checkpoint, maker)
    return checkpoint


def train(stage: str, checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    config = StageConfig(**{**STAGES[stage].defaults, **TINY})
    return run_stage(STAGES[stage], checkpoint, tiny_dataset(), config, folder / "trained")


def scores(checkpoint: Checkpoint) -> dict[str, list[float]]:
    found = GenerativeRetriever(checkpoint).score_all(QUERIES)
    return dict(zip(checkpoint.catalog.ids, found.T.tolist(), strict=True))


def ids(checkpoint: Checkpoint) -> dict[str, int]:
    return {one: checkpoint.vocabulary.token_id(one) for one in checkpoint.vocabulary.tool_ids}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("grows", [False, True], ids=["spare", "grows"])
def test_old_tools_keep_their_ids_and_scores(architecture: Architecture, tied: bool, grows: bool) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied)
    checkpoint = add_tools(checkpoint, [tool("warm-up")])  # which brings spare tokens
    before, known, size = scores(checkpoint), ids(checkpoint), len(checkpoint.tokenizer)
    after = add_tools(checkpoint, [tool(f"feed-{i}", f"Feeds the cat {i} times") for i in range(200 if grows else 3)])
    assert (len(after.tokenizer) > size) is grows
    found = scores(after)
    if not grows:  # a product of another size may be rounded otherwise
        assert {one: found[one] for one in before} == before
    for one, values in before.items():
        assert found[one] == pytest.approx(values, abs=1e-5)
    assert known.items() < ids(after).items()
    assert len({*ids(after).values()}) == len(after.catalog) == len(known) + (200 if grows else 3)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("made", [False, True], ids=["bag", "row maker"])
def test_a_tool_that_comes_later_has_the_row_it_would_have_had(tied: bool, made: bool) -> None:
    prepare: Callable[[Checkpoint], Checkpoint] = with_maker if made else lambda checkpoint: checkpoint
    late = add_tools(prepare(built(EVERY[:-1], tied=tied)), EVERY[-1:])
    at_once = prepare(built(EVERY, tied=tied))
    for matrix in (lambda model: model.get_input_embeddings().weight, output_rows):
        rows = [matrix(one.model)[one.vocabulary.token_id(EVERY[-1].id)] for one in (late, at_once)]
        torch.testing.assert_close(*rows)
    assert (late.row_maker is None) is not made


def test_a_tool_that_came_later_is_written_with_a_spare_token() -> None:
    checkpoint = add_tools(tiny_checkpoint(), [tool("feed")])
    vocabulary = checkpoint.vocabulary
    assert vocabulary.token("pets&&feed").startswith("<<spare:")
    assert checkpoint.protocol.documentation("pets&&feed").startswith("pets.feed")
    written = checkpoint.tokenizer(f"use {vocabulary.token('pets&&feed')}", add_special_tokens=False)["input_ids"]
    assert written[-1] == vocabulary.token_id("pets&&feed")


def test_removed_tools_are_never_chosen(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(max_position_embeddings=1024)
    gone = [one.id for one in EVERY[2:6]]
    tokens = [checkpoint.vocabulary.token_id(one) for one in gone]
    before = scores(checkpoint)
    after = remove_tools(checkpoint, gone)
    assert scores(after) == {one: value for one, value in before.items() if one not in gone}
    after.save(tmp_path / "ckpt")
    after = Checkpoint.load(tmp_path / "ckpt")
    with torch.no_grad():  # even where their tokens are what the model would write
        output_rows(after.model)[tokens] = 100 * GenerativeRetriever(after).hidden_states(QUERIES[:1])
    for constrained in (True, False):
        for ranking in GenerativeRetriever(after, constrained=constrained).search(QUERIES, k=1000):
            assert not {*ranking.tools} & {*gone}
    decoder = ToolDecoder(after)
    session = decoder.session()
    prompt = after.protocol.prompt([{"role": "user", "content": QUERIES[0]}])
    session.sync(prompt)
    choice = decoder.choose(session)
    assert choice.tool not in gone and not choice.tool_exists
    written = after.model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    assert not {*written.tolist()} & {*tokens}


def test_a_tool_that_comes_back_gets_its_token_back() -> None:
    checkpoint = tiny_checkpoint()
    before = ids(checkpoint)
    gone = EVERY[3:5]
    checkpoint = remove_tools(checkpoint, [one.id for one in gone])
    checkpoint = add_tools(checkpoint, [tool("feed"), *reversed(gone)])
    assert before.items() < ids(checkpoint).items()
    assert checkpoint.vocabulary.token("pets&&feed").startswith("<<spare:")
    assert checkpoint.catalog.ids[-3:] == ("pets&&feed", gone[1].id, gone[0].id)


def test_after_a_hundred_changes_everything_is_as_it_says(tmp_path: Path) -> None:
    random, folder = Random(1), tmp_path / "ckpt"
    checkpoint, expected = with_maker(tiny_checkpoint()), {one.id: one for one in EVERY}
    untouched, numbers, first = {one.id for one in EVERY[:4]}, ids(checkpoint), scores(checkpoint)
    for number in range(100):
        some = random.sample(sorted(expected.keys() - untouched), 3)
        match number % 3:
            case 0:
                new = [tool(f"late-{number}-{i}", f"Does {number} and {i}") for i in range(random.randint(1, 9))]
                checkpoint = add_tools(checkpoint, new)
                expected |= {one.id: one for one in new}
            case 1:
                checkpoint = remove_tools(checkpoint, some)
                expected = {name: one for name, one in expected.items() if name not in some}
            case 2:
                other = [replace(expected[name], description=f"Changed in {number}") for name in some]
                checkpoint = update_tools(checkpoint, other)
                expected |= {one.id: one for one in other}
        for name, token_id in ids(checkpoint).items():
            assert numbers.setdefault(name, token_id) == token_id
        if number % 20 == 19:
            checkpoint.save(folder)
            loaded = Checkpoint.load(folder)
            assert loaded.metadata == checkpoint.metadata and scores(loaded) == scores(checkpoint)
            checkpoint = loaded
        hashes = {checkpoint.catalog.content_hash, checkpoint.metadata["catalog_hash"]}
        assert hashes == {Catalog(expected.values()).content_hash}
    assert len(checkpoint.vocabulary.new_tokens) < len(EVERY) + 4 * SPARE + 150
    found = scores(checkpoint)
    assert all(found[name] == pytest.approx(first[name], abs=1e-5) for name in untouched)


def test_ten_thousand_tools_come_at_once(tmp_path: Path) -> None:
    checkpoint = add_tools(tiny_checkpoint(), [tool(f"n{i}", f"Counts to {i}") for i in range(10_000)])
    checkpoint.save(tmp_path / "ckpt")
    loaded = Checkpoint.load(tmp_path / "ckpt")
    assert len(loaded.catalog) == len(EVERY) + 10_000
    (ranking,) = GenerativeRetriever(loaded).search(["Counts to 17"], k=20_000)
    assert len({*ranking.tools}) == len(loaded.catalog)


BROKEN = tool("broken", parameters={"type": "object", "properties": {"a": {"type": "nonsense"}}})


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda c: add_tools(c, [tool("a"), EVERY[0]]), CatalogError, "1 of 2 tools are in the checkpoint already"),
        (lambda c: add_tools(c, [tool("a"), BROKEN]), CatalogError, "pets&&broken"),
        (lambda c: add_tools(c, [tool("a"), tool("a")]), CatalogError, "repeated: pets&&a"),
        (lambda c: add_tools(c, []), UsageError, "there is no tool to add"),
        (lambda c: update_tools(c, [tool("a")]), UsageError, "1 of 1 tools are not in the checkpoint"),
        (lambda c: update_tools(c, [replace(BROKEN, id=EVERY[0].id)]), CatalogError, "nonsense"),
        (lambda c: remove_tools(c, [EVERY[0].id, "mail&&sendd"]), UsageError, "did you mean 'mail&&send'"),
        (lambda c: remove_tools(c, c.catalog.ids), UsageError, "it needs at least one"),
        (lambda c: remove_tools(c, []), UsageError, "no tool was named"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    change: Callable[[Checkpoint], Checkpoint], kind: type[ToolgenError], says: str
) -> None:
    checkpoint, untouched = tiny_checkpoint(), tiny_checkpoint()
    with pytest.raises(kind, match=says):
        change(checkpoint)
    assert checkpoint.metadata == untouched.metadata and len(checkpoint.tokenizer) == len(untouched.tokenizer)
    for one, other in zip(checkpoint.model.parameters(), untouched.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_tools_of_several_tokens_cannot_change() -> None:
    checkpoint = tiny_checkpoint(indexing="numeric")
    with pytest.raises(UsageError, match="numeric indexing share their rows, so none can be added"):
        add_tools(checkpoint, [tool("a")])
    with pytest.raises(UsageError, match="numeric indexing share their rows; virtualize the other tools"):
        remove_tools(checkpoint, [EVERY[0].id])
    with pytest.raises(CheckpointError, match="numeric indexing share their tokens"):
        tiny_checkpoint(indexing="numeric", spare=3)


@pytest.mark.parametrize("made", [False, True], ids=["bag", "row maker"])
def test_a_changed_tool_has_the_row_of_its_new_documentation(made: bool) -> None:
    checkpoint = with_maker(tiny_checkpoint()) if made else tiny_checkpoint()
    before, new = scores(checkpoint), replace(EVERY[4], description="Feeds the cat of a neighbor")
    late = LateRows(checkpoint, [new.id])
    wanted, old = (late.of([one]).outputs_ND[0] for one in (new, EVERY[4]))
    row = checkpoint.tool_rows[4].detach().clone()
    after = update_tools(checkpoint, [new, EVERY[5]])
    torch.testing.assert_close(after.tool_rows[4], row - old + wanted)
    found = scores(after)
    assert found.pop(new.id) != before.pop(new.id)
    assert found == before and after.catalog.get(new.id) == new
    assert after.stages[-1] == StageRecord(stage="tools", examples={"updated": 1})


def test_what_the_row_is_not_made_of_leaves_it_alone() -> None:
    checkpoint = tiny_checkpoint()
    before, new = scores(checkpoint), replace(EVERY[4], endpoint={"kind": "http", "url": "http://localhost"})
    after = update_tools(checkpoint, [new])
    assert scores(after) == before and after.catalog.get(new.id) == new


def test_the_origin_of_every_row_is_known(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(spare=5)
    assert {*map(checkpoint.row_origin, checkpoint.catalog.ids)} == {"documentation"}
    trained = train("memorization", checkpoint, tmp_path)
    assert {*map(trained.row_origin, trained.catalog.ids)} == {"trained"}
    changed = add_tools(trained, [tool("feed")])
    changed = update_tools(changed, [replace(one, category="x") for one in (EVERY[0], tool("feed"))])
    changed.save(tmp_path / "changed")
    loaded = Checkpoint.load(tmp_path / "changed")
    origins = {one: loaded.row_origin(one) for one in loaded.catalog.ids}
    assert origins.pop("pets&&feed") == "documentation" and {*origins.values()} == {"trained"}
    assert loaded.changed == {EVERY[0].id}


def test_training_leaves_tokens_of_no_tool_alone(tmp_path: Path) -> None:
    checkpoint = remove_tools(add_tools(tiny_checkpoint(spare=4), [tool("feed")]), ["pets&&feed"])
    trained = train("retrieval", checkpoint, tmp_path)
    free = trained.vocabulary.free_token_ids
    assert len(free) == 4
    assert not output_rows(trained.model)[free].any()
    assert np.isfinite(GenerativeRetriever(trained).score_all(QUERIES)).all()


def test_a_checkpoint_offers_both() -> None:
    after = tiny_checkpoint().with_tools([tool("feed")])
    assert torch.equal(after.tool_rows, add_tools(tiny_checkpoint(), [tool("feed")]).tool_rows)
    assert after.without_tools(["pets&&feed"]).catalog == tiny_catalog()
    assert after.search("feed the cat", k=1)


@pytest.mark.parametrize("made", [False, True], ids=["bag", "row maker"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_new_row_moves_as_training_has_moved_the_others(made: bool, tied: bool) -> None:
    """Rows that moved by a linear function of their words: the new tool's row moves by the same."""
    tools = [tool(f"n{i}", f"{EVERY[i % 12].description} and counts to {i}") for i in range(120)]
    late, known = tools[100:], tools[:100]
    checkpoint = built(known, tied=tied)
    checkpoint = with_maker(checkpoint) if made else checkpoint
    turn = torch.randn(32, 32, generator=torch.Generator().manual_seed(2))
    plain, untouched = LateRows(checkpoint).of(late).outputs_ND, scores(checkpoint)
    truth = plain + bags_of(checkpoint, late, [views(one) for one in known]) @ turn
    with torch.no_grad():
        ids_ = [checkpoint.vocabulary.token_id(one.id) for one in known]
        output_rows(checkpoint.model)[ids_] += bags_of(checkpoint, known) @ turn
    checkpoint = replace(checkpoint, stages=(StageRecord(stage="retrieval"),))
    assert scores(checkpoint) != untouched
    after = add_tools(checkpoint, late)
    found = after.tool_rows[100:].detach()
    assert (found - truth).norm() < 0.4 * (plain - truth).norm()
    assert after.row_map is not None
    later = add_tools(after, [tool("again", "Feeds the cat once more")])
    assert later.row_map is after.row_map  # it is found once
    assert torch.equal(later.tool_rows[:100], checkpoint.tool_rows[:100])


def test_what_was_found_out_of_rows_goes_when_they_are_trained(tmp_path: Path) -> None:
    checkpoint = add_tools(with_maker(tiny_checkpoint()), [tool("feed")])
    assert checkpoint.row_map is None and not checkpoint.rows_moved
    trained = train("memorization", remove_tools(checkpoint, ["pets&&feed"]), tmp_path)
    later = add_tools(trained, [tool("feed")])
    later.save(tmp_path / "later")
    loaded = Checkpoint.load(tmp_path / "later")
    assert loaded.row_map is not None and later.row_map is not None
    assert all(torch.equal(loaded.row_map[name], value) for name, value in later.row_map.items())
    again = train("memorization", remove_tools(loaded, ["pets&&feed"]), tmp_path / "again")
    assert again.row_map is None and again.row_maker is not None
