"""The page: complete, self-contained, readable by machines, and safe against what its data says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from toolgen.datasets import Call, Outcome, Trajectory, TurnOutcome
from toolgen.errors import UsageError
from toolgen.evaluation import (
    AgentRecord,
    AgentResult,
    Result,
    RetrievalResult,
    ToolMap,
    collect_provenance,
    render_report,
    write_report,
)
from toolgen.evaluation.agent_results import Effort
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.scorers import Score
from toolgen.evaluation.validity import Validity
from toolgen.testing import tiny_dataset

Measure = Callable[..., RetrievalResult]
ATTACK = '<script>alert("x")</script><img src=http://example.org/x onerror=alert(1)>'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, ids and links, and checks that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }


def agent_result(*, correct: bool = True, steps: int = 1) -> AgentResult:
    share = Interval(mean=0.5, low=0.4, high=0.6, count=12)
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"do it {ATTACK}"}]
    for _ in range(steps):
        messages += [call("p&&t1", a="b" * 3000), {"role": "tool", "tool_call_id": "1", "content": ATTACK}]
    messages.append(call("finish", answer="all done"))
    outcome = Outcome(turns=(TurnOutcome(status="finished", answer="all done", steps=steps + 1),))
    record = AgentRecord(
        id="task 1",
        kind="multi_turn",
        category="base",
        text="do it",
        asked=False,
        expected=(Call(tool="p&&t9", arguments={}),),
        score=Score(correct=correct),
        validity=Validity(),
        trajectory=Trajectory(id="1", query="q", messages=tuple(messages), outcome=outcome),
    )
    dataset = tiny_dataset()
    return AgentResult(
        name="agent",
        split="test",
        metrics={
            "multi_turn": {
                "all": {"task_success": share, "turn_state": share},
                "category=base": {"task_success": share},
            }
        },
        validity=Validity(actions=40, decisions=8, would_not_call=1),
        effort=Effort(steps=2.25, prompt_tokens=200, tokens=30, seconds=1.5),
        records=(record,),
        provenance=collect_provenance(dataset, config={}, seconds=1),
    )


@pytest.fixture
def training() -> list[Mapping[str, Any]]:
    losses = [{"stage": "memorization", "step": i, "loss": 8 / (i + 1), "seconds": 2.0 * i} for i in range(900)]
    return [
        *losses,
        {"stage": "retrieval", "step": 5, "loss": 1.0},
        {"stage": "retrieval", "step": 5, "dev_ndcg@1": 0.61},
    ]


@pytest.fixture
def page(measure: Measure, training: list[Mapping[str, Any]]) -> str:
    names = [f"tool {i}" for i in range(30)]
    points = [(float(i), float(i * i % 7)) for i in range(30)]
    tool_map = ToolMap(points=points, labels=[f"provider {i % 9}" if i % 5 else "" for i in range(30)], names=names)
    results: list[Result] = [
        measure("generative", unasked=["p&&t3"]),
        measure("bm25"),
        agent_result(),
    ]
    return render_report(results, title=f"A & B {ATTACK}", training=training, tool_map=tool_map)


def test_the_page_is_well_formed_with_one_heading_and_working_links(page: str) -> None:
    parsed = Page(page)
    assert not parsed.open
    assert len(parsed.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in parsed.all("a")} == {*ids}


def test_the_page_asks_no_server_for_anything(page: str) -> None:
    parsed = Page(page)
    for tag in ("script", "img", "link", "iframe", "object", "embed", "base", "form"):
        assert not parsed.all(tag), tag
    assert not [attributes for _, attributes in parsed.tags if any(name.startswith("on") for name in attributes)]
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_foreign_text_is_shown_and_never_obeyed(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert ATTACK in "".join(Page(page).text)


def test_a_page_holds_no_character_that_a_reader_cannot_see(measure: Measure) -> None:
    title = "a\x1b[31m\u202eb\u2066\ud800\x85c</title><script>"
    page = render_report([measure("bm25")], title=title)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    assert "a\ufffd[31m\ufffdb\ufffd\ufffd\ufffdc</title><script>" in "".join(Page(page).text)
    assert not Page(page).all("script")
    page.encode()


def test_nothing_of_a_page_may_send_or_load(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_every_picture_has_words_for_those_who_do_not_see_it(page: str) -> None:
    for picture in Page(page).all("svg"):
        inner = "viewBox" in {key.replace("viewbox", "viewBox") for key in picture} and "x" in picture
        assert picture.get("aria-label") or picture.get("aria-hidden") == "true" or inner


def test_the_page_shows_every_part(page: str) -> None:
    text = " ".join("".join(Page(page).text).split())
    for part in (
        "Generative puts a right tool first for 75.0% of 4 requests; BM25 for 50.0%.",
        "Generative puts a right tool first for 50.0% of 2 requests for unasked tools",
        "Unasked tools: no training request asks for them (2)",
        "Generative − BM25",
        "+25.0",
        "Of 40 calls, 0 named a tool that does not exist and 0 had invalid arguments.",
        "12.5% of choices would not have named a tool",
        "Whole task right",
        "all done",
        "Memorization: loss",
        "Retrieval: dev split",
        "3 other providers",
        "no provider",
        "Worst requests of Generative",
        "p&&t5 place 7",
    ):
        assert part in text, part


def test_light_and_dark_and_narrow_screens_are_styled(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 760px" in page
    assert "width=device-width" in page


def test_long_texts_and_long_runs_are_cut_and_say_so(measure: Measure) -> None:
    text = "".join(Page(render_report([agent_result(steps=20)])).text)
    assert "more characters)" in text
    assert "steps left out" in text
    assert "all done" in text


def test_a_wrong_run_shows_what_was_expected() -> None:
    assert "p&amp;&amp;t9" in render_report([agent_result(correct=False)])
    assert "p&amp;&amp;t9" not in render_report([agent_result(correct=True)])


def test_sections_without_data_are_left_out(measure: Measure) -> None:
    html = render_report([measure("bm25")])
    for section in ("agent", "training", "map"):
        assert f'id="{section}"' not in html
    assert "Differences" not in html


def test_results_of_different_splits_are_not_compared_with_each_other(measure: Measure) -> None:
    html = render_report([measure("bm25"), replace(measure("dense"), split="dev")])
    assert "Finding tools: demo, split test" in html
    assert "Finding tools: demo, split dev" in html
    assert "−" not in "".join(Page(html).text)


def test_many_tools_are_thinned_and_the_page_says_so(measure: Measure) -> None:
    tool_map = ToolMap(points=[(0.0, float(i)) for i in range(9000)], labels=["p"] * 9000, names=["n"] * 9000)
    html = render_report([measure()], tool_map=tool_map)
    assert html.count("<circle") == 3000
    assert "3,000 of 9,000 tools are drawn" in html


def test_long_curves_are_thinned(measure: Measure, training: list[Mapping[str, Any]]) -> None:
    curves = re.findall(r'points="([^"]*)"', render_report([measure()], training=training))
    assert max(len(points.split()) for points in curves) <= 400


def test_a_report_needs_a_result() -> None:
    with pytest.raises(UsageError, match="at least one result"):
        render_report([])


def test_the_page_is_written_whole(measure: Measure, tmp_path: Path) -> None:
    write_report([measure()], tmp_path / "deep" / "report.html")
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_result_of_an_agent_without_the_group_of_all_tasks_is_refused() -> None:
    record = agent_result().to_dict()
    (groups,) = record["metrics"].values()
    del groups["all"]
    with pytest.raises(ValueError, match="expected the group all"):
        AgentResult.from_dict(record)
