"""A mix of training sets: what is taught, what is left out, and that no test request is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.tool import Tool
from toolgen.datasets.beir import import_beir
from toolgen.datasets.bfcl import import_bfcl
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Call
from toolgen.datasets.seal_tools import import_seal_tools
from toolgen.datasets.toolbench import import_toolbench
from toolgen.datasets.training_sets.conversation import Action, Conversation, Ending, Step, Turn
from toolgen.datasets.training_sets.mix import build_mix, clean, texts_of
from toolgen.datasets.training_sets.near_copies import NearCopies
from toolgen.datasets.training_sets.reading import LoadedSet, make_tool
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import DatasetError, UsageError

TOOL = make_tool("book", "hotel", "Books.", {"type": "object", "properties": {"city": {"type": "string"}}}, "s")
TWIN = make_tool("book", "hotel", "Books a room in a hotel.", TOOL.parameters, "s")
UNSEEN = "Please book me the cheapest room that you can find in the middle of Rome"


def booking(name: str, text: str, city: str, tool: Tool = TOOL) -> Conversation:
    action = Action(tool=tool.id, arguments={"city": city}, result="ok")
    steps = (Step(actions=(action,)), Step(text="Done."))
    return Conversation(id=name, tools=(tool,), turns=(Turn(text=text, steps=steps),))


def single(name: str, text: str, ending: Ending) -> Conversation:
    return Conversation(id=name, tools=(TOOL,), turns=(Turn(text=text, steps=(Step(text="Hm?"),), ending=ending),))


def cleaned(*conversations: Conversation, name: str = "glaive-v2-sample", unseen: str = "") -> Dataset:
    loaded = LoadedSet(conversations=conversations, report=LoadReport(source=name, loaded=0))
    return clean(name, loaded, NearCopies([unseen]))


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(dataset.reports[0].counts)


def test_a_conversation_becomes_a_query_a_task_and_a_trajectory() -> None:
    dataset = cleaned(booking("c1", "A room in Rome!", "Rome"))

    (query,), (task,) = dataset.queries["train"], dataset.tasks["train"]
    (trajectory,) = dataset.trajectories["train"]
    assert query.calls == task.calls == (Call(tool="hotel&&book", arguments={"city": "Rome"}),)
    assert query.category == task.category == "glaive-v2-sample"
    assert trajectory.query == task.id == "glaive-v2-sample/c1"
    assert validate_dataset(dataset).errors == ()


def test_made_up_values_are_not_taught_but_the_tools_are() -> None:
    dataset = cleaned(booking("c1", "A room!", "Rome"))

    (query,) = dataset.queries["train"]
    assert (query.tools, query.calls) == (("hotel&&book",), None)
    assert not dataset.trajectories["train"]
    assert counts(dataset) == {"calls": 1, "calls_evidenced": 0, "conversations_with_unevidenced_values": 1}


def test_a_value_that_an_earlier_result_gives_is_evidenced_in_the_trajectory() -> None:
    first = Action(tool=TOOL.id, arguments={}, result="The best city is Oslo.")
    second = Action(tool=TOOL.id, arguments={"city": "Oslo"}, result="ok")
    steps = (Step(actions=(first,)), Step(actions=(second,)), Step(text="Done."))

    dataset = cleaned(Conversation(id="c", tools=(TOOL,), turns=(Turn(text="The best one!", steps=steps),)))

    assert len(dataset.trajectories["train"]) == 1
    assert dataset.queries["train"][0].calls is None


def test_near_copies_of_unseen_requests_are_losses() -> None:
    dataset = cleaned(
        booking("c1", UNSEEN.replace("Rome", "Oslo"), "Oslo"), booking("c2", "Oslo!", "Oslo"), unseen=UNSEEN
    )

    assert [query.text for query in dataset.queries["train"]] == ["Oslo!"]
    assert [(loss.name, "near copy" in loss.reason) for loss in dataset.reports[0].losses] == [("c1", True)]


def test_definitions_that_differ_are_different_tools() -> None:
    one, other = booking("c1", "Rome!", "Rome"), booking("c2", "Oslo!", "Oslo", tool=TWIN)

    dataset = cleaned(one, other, booking("c3", "Bern!", "Bern"))

    assert [tool.id for tool in dataset.catalog] == ["hotel&&book", "hotel&&book#2"]
    assert [query.tools for query in dataset.queries["train"]] == (
        [("hotel&&book",), ("hotel&&book#2",), ("hotel&&book",)]
    )


def test_what_was_declined_for_the_offered_tools_alone_is_left_out() -> None:
    declined = single("c", "Sing me a song!", "declined")

    offered, anything = cleaned(declined), cleaned(declined, name="clinc150")

    assert (offered.queries["train"], offered.trajectories["train"]) == ((), ())
    assert counts(offered)["declined_for_the_offered_tools"] == 1
    assert [(query.tools, query.calls) for query in anything.queries["train"]] == [((), ())]
    assert anything.trajectories["train"][0].outcome.status == "declined"


def test_requests_that_say_the_same_and_those_that_lean_on_others_are_counted() -> None:
    twice = booking("c1", "Rome!", "Rome")
    again = Conversation(id="c2", tools=(TOOL,), turns=(twice.turns[0], booking("", "And Oslo!", "Oslo").turns[0]))

    dataset = cleaned(twice, again)

    assert [query.text for query in dataset.queries["train"]] == ["Rome!"]
    assert counts(dataset) == {
        "calls": 1,
        "calls_evidenced": 1,
        "repeated_requests": 1,
        "requests_that_lean_on_others": 1,
    }


def test_sets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for names, reason in (
        (["hammerbensh"], "unknown training set 'hammerbensh'.*did you mean 'hammerbench'"),
        (["hammerbench"], "has no folder hammerbench"),
        ([], "holds no training set"),
    ):
        with pytest.raises((UsageError, DatasetError), match=reason):
            build_mix(tmp_path, names, "mix", NearCopies([]))


@pytest.mark.weights
def test_no_request_of_a_benchmark_is_in_the_published_sets(shared_data: Path, cached_bfcl: Path) -> None:
    benchmarks = [
        import_seal_tools(shared_data / "seal-tools"),
        import_toolbench(shared_data / "stabletoolbench"),
        import_beir(shared_data / "toollens"),
        import_bfcl(cached_bfcl),
    ]
    unseen = list(texts_of(benchmarks))
    near = NearCopies(unseen)
    names = [n for n in ("shortcutsbench-toolllm", "xlam-sample-qwenstar", "t-eval") if (shared_data / n).is_dir()]

    texts = set(texts_of([build_mix(shared_data, names, "mix", near)]))

    assert len(unseen) > 20_000
    assert len(texts) > 2000
    assert not [text for text in texts if text in near]
    plain = {" ".join(text.lower().split()) for text in texts}
    assert not [text for text in unseen if " ".join(text.lower().split()) in plain]
