"""The playground on the server's side: the page and its headers, what it asks for, the map, a run told step by step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from toolgen.agent import Action
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import StageRecord
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.testing import tiny_catalog, tiny_checkpoint

pytest.importorskip("fastapi")

from starlette.testclient import TestClient
from tests.serving.conftest import Script
from tests.serving.test_request_tools import with_maker

from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.guard import PAGE_FILES, hashed
from toolgen.serving.playground.routes import POINTS, drawn_map, why_no_chat
from toolgen.serving.playground.tool_map import layout, word_vectors
from toolgen.serving.service import Service

FORECAST = "weather&&get_forecast"
ASKED = {"messages": [{"role": "user", "content": "rain in Oslo?"}]}


def client_of(service: Service, **options: Any) -> TestClient:
    return TestClient(make_app(service, **options), base_url="http://localhost")


def dataset_service() -> Service:
    retriever = BM25Retriever()
    retriever.index(tiny_catalog())
    return Service("tiny", tiny_catalog(), retriever, None)


@pytest.fixture
def acting(trained: Checkpoint) -> Script:
    return Script(trained)


@pytest.fixture
def client(trained: Checkpoint, acting: Script) -> Iterator[TestClient]:
    assistant = Assistant(trained, running=2, waiting=1, seconds=20)
    service = Service("tiny", trained.catalog, assistant.retriever(), assistant)
    assistant._policy = acting  # type: ignore[assignment]
    with client_of(service) as made:
        yield made
    assistant.close()


def run(client: TestClient, **given: Any) -> list[dict[str, Any]]:
    """The events of a run."""
    answer = client.post("/playground/run", json=ASKED | given)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(block.partition("data: ")[2]) for block in answer.text.split("\n\n") if block]


# --- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_page_takes_nothing_from_elsewhere_and_runs_nothing_inline(path: str) -> None:
    with client_of(dataset_service()) as client:
        answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)
    assert not re.search(r"""\bon\w+=["']|\bstyle=["']|<script>|<style>|javascript:""", answer.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", answer.text)


def test_the_page_is_open_and_what_it_shows_is_not() -> None:
    with client_of(dataset_service(), keys={"somebody": hashed("right")}) as client:
        assert [client.get(path).status_code for path in PAGE_FILES] == [200] * len(PAGE_FILES)
        assert [client.get(f"/playground/{name}").status_code for name in ("about", "map")] == [401, 401]
        assert client.get("/playground/about", headers={"Authorization": "Bearer right"}).status_code == 200


def test_colors_of_text_have_enough_contrast_in_light_and_dark() -> None:
    with client_of(dataset_service()) as client:
        style = client.get("/playground/style.css").text
    colors = {name: pair for name, *pair in re.findall(r"--(\w[\w-]*): light-dark\((#\w{6}), (#\w{6})\)", style)}
    for theme in (0, 1):
        for ground in ("paper", "raised"):
            for text in ("ink", "soft", "accent", "wrong"):
                assert contrast(colors[text][theme], colors[ground][theme]) >= 4.5, (text, ground, theme)
        assert contrast(colors["on-accent"][theme], colors["accent"][theme]) >= 4.5
        for provider in range(9):  # also the color of a provider's name
            assert contrast(colors[f"c{provider}"][theme], colors["paper"][theme]) >= 4.5, (provider, theme)


def contrast(first: str, second: str) -> float:
    """WCAG 2.2, 'contrast ratio'."""

    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# --- search and definitions --------------------------------------------------------------------------------------------


def test_what_is_served_is_told(client: TestClient) -> None:
    about = client.get("/playground/about").json()
    assert about == {
        "name": "tiny",
        "tools": 13,
        "retriever": "generative",
        "unit": "probability",
        "compares": True,
        "no_chat": "",
    }


def test_a_dataset_is_searched_alone_and_says_why_it_does_not_chat() -> None:
    with client_of(dataset_service()) as client:
        about = client.get("/playground/about").json()
        refused = client.post("/playground/run", json=ASKED)
    assert about["compares"] is False
    assert "dataset" in about["no_chat"]
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, about["no_chat"])


def test_a_model_that_has_not_learned_to_act_says_so(checkpoint: Checkpoint) -> None:
    assistant = Assistant(checkpoint)
    with client_of(Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)) as client:
        assert "toolgen train agent" in client.get("/playground/about").json()["no_chat"]
        assert client.get("/playground/map").status_code == 200
    assistant.close()


def test_one_can_chat_with_an_index_whose_base_has_learned_to_act() -> None:
    index = StageRecord(stage="index", config={"rows": "made", "added": ["bm25"]})
    for made, is_ready in ((tiny_checkpoint(), False), (with_maker(tiny_checkpoint()), True)):
        assistant = Assistant(replace(made, stages=(index,)))
        service = Service("tiny", made.catalog, assistant.retriever(), assistant)
        assert bool(why_no_chat(service)) is not is_ready
        assistant.close()


def test_bm25_stands_beside_the_model(client: TestClient) -> None:
    found = client.post("/playground/bm25", json={"query": "storm warnings", "limit": 3}).json()
    retriever = BM25Retriever()
    retriever.index(tiny_catalog())
    (expected,) = retriever.search(["storm warnings"], 3)
    assert [one["id"] for one in found["data"]] == list(expected.tools)
    assert found["unit"] == "BM25 score"


def test_a_definition_is_given_and_an_unknown_one_is_said(client: TestClient) -> None:
    tool = tiny_catalog().get("travel&&book_trip")
    told = client.post("/playground/tool", json={"id": tool.id}).json()
    assert (told["description"], told["parameters"]) == (tool.description, dict(tool.parameters))
    assert client.post("/playground/tool", json={"id": "<b>nothing"}).status_code == 400


# --- the map -----------------------------------------------------------------------------------------------------------


def test_every_tool_has_a_place(client: TestClient) -> None:
    drawn = client.get("/playground/map").json()
    assert [tool for tool, _, _ in drawn["tools"]] == list(tiny_catalog().ids)
    assert [drawn["providers"][number] for _, _, number in drawn["tools"]] == [one.provider for one in tiny_catalog()]
    assert np.isfinite(drawn["places"]).all()
    assert (drawn["of"], drawn["total"]) == ("rows", 13)


def test_a_catalog_without_a_model_is_mapped_by_its_words() -> None:
    drawn = drawn_map(dataset_service())
    assert drawn["of"] == "words"
    assert len(drawn["places"]) == 13


def test_of_a_large_catalog_an_even_part_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolgen.serving.playground.routes.POINTS", 5)
    assert POINTS == 5_000
    assert [tool for tool, _, _ in drawn_map(dataset_service())["tools"]] == list(tiny_catalog().ids)[::3]


def groups(count: int, size: int, dimensions: int = 40) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points around as many centres, and the number of each one's centre."""
    random = np.random.default_rng(1)
    centers, number = random.normal(size=(count, dimensions)), np.repeat(np.arange(count), size)
    return (centers[number] + 0.4 * random.normal(size=(count * size, dimensions))).astype(np.float32), number


def test_what_is_alike_lies_together() -> None:
    vectors, number = groups(12, 25)
    kept, components = alike_nearby(layout(vectors), number), alike_nearby(vectors[:, :2], number)
    assert kept > 0.99 > components


def alike_nearby(places: np.ndarray[Any, Any], number: np.ndarray[Any, Any]) -> float:
    """Of the five nearest points of each, how many are of its group."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :5]
    return float((number[nearest] == number[:, None]).mean())


def test_a_map_is_the_same_each_time_and_lies_on_its_long_side() -> None:
    vectors, _ = groups(3, 20)
    places = layout(vectors)
    assert (places == layout(vectors)).all()
    assert np.ptp(places[:, 0]) >= np.ptp(places[:, 1])
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.eye(3, 4), np.zeros((30, 4))], ids=["one", "three", "equal"])
def test_few_or_equal_vectors_have_places_too(vectors: np.ndarray[Any, Any]) -> None:
    assert np.isfinite(layout(vectors.astype(np.float32))).all()


def test_tools_that_share_rare_words_are_alike_by_words() -> None:
    ids = list(tiny_catalog().ids)
    vectors = word_vectors(list(tiny_catalog()))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit[ids.index(FORECAST)]
    assert ids[int(np.argsort(-alike)[1])] == "weather&&get_alerts"


# --- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_tells_each_step_as_it_happens(client: TestClient, acting: Script, trained: Checkpoint) -> None:
    acting.actions = [
        Action(tool=FORECAST, arguments={"city": "Oslo"}, tokens=9),
        Action(tool=FINISH, arguments={"answer": "Rain."}, tokens=4),
    ]
    events = run(client)
    kinds = [event["type"] for event in events]
    assert [kind for place, kind in enumerate(kinds) if kinds[place - 1 : place] != [kind]] == [
        "choice", "arguments", "action", "result", "choice", "answer", "action", "end",
    ]  # fmt: skip
    first = events[0]
    assert (first["step"], first["tool"]) == (1, FORECAST)
    assert first["candidates"][0] == {"tool": FORECAST, "probability": 0.75}
    assert first["documentation"] == trained.protocol.documentation(FORECAST)
    (written,) = (event["text"] for event in events if event["type"] == "arguments")
    assert json.loads(written) == {"city": "Oslo"}
    assert "".join(event["text"] for event in events if event["type"] == "answer") == "Rain."
    assert json.loads(next(event["content"] for event in events if event["type"] == "result"))["simulated"] is True
    assert events[-1] | {"at": 0} == {"type": "end", "at": 0, "status": "finished", "calls": 1, "tokens": 13}
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_independent_calls_are_told_together(client: TestClient, acting: Script) -> None:
    first, second = (Action(tool=FORECAST, arguments={"city": city}, tokens=9) for city in ("Oslo", "Bergen"))
    acting.actions = [replace(first, parallel=(second,)), Action(tool=FINISH, arguments={"answer": "x"}, tokens=4)]
    events = run(client)
    kinds = [event["type"] for event in events]
    assert kinds[:8] == ["choice", "arguments"] * 2 + ["action"] * 2 + ["result"] * 2
    assert [event["step"] for event in events if event["type"] == "choice"] == [1, 2, 3]
    told = [event["arguments"] for event in events if event["type"] == "action"]
    assert told == [{"city": "Oslo"}, {"city": "Bergen"}, {"answer": "x"}]
    assert (events[-1]["calls"], events[-1]["tokens"]) == (2, 13), "the tokens of an action are those of all its calls"


def test_calls_can_be_recorded_alone(client: TestClient, acting: Script) -> None:
    acting.actions = [Action(tool=FORECAST, arguments={"city": "Oslo"}), Action(tool=FINISH, arguments={"answer": "x"})]
    result = next(event for event in run(client, results="recorded") if event["type"] == "result")
    assert json.loads(result["content"]) == {"status": "recorded"}


def test_a_conversation_goes_on_with_what_was_said(client: TestClient, acting: Script) -> None:
    call = {"id": "a", "type": "function", "function": {"name": FORECAST, "arguments": '{"city": "Oslo"}'}}
    acting.actions = [Action(tool=NO_TOOL, tokens=1)]
    told = [
        {"role": "user", "content": "rain in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "and in Bergen?"},
    ]
    events = run(client, messages=told)
    assert events[-1]["status"] == "declined"
    (asked,) = acting.asked
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert asked["messages"][-1]["content"] == "and in Bergen?"


@pytest.mark.parametrize("action", [Action(tool=FORECAST, stuck="arguments_cut", fault="cut after 9 tokens")])
def test_a_call_that_could_not_be_completed_is_told(client: TestClient, acting: Script, action: Action) -> None:
    acting.actions = [action, Action(tool=FINISH, arguments={"answer": "x", "gave_up": True})]
    events = run(client)
    stuck = next(event for event in events if event["type"] == "action")
    assert (stuck["stuck"], stuck["fault"]) == ("arguments_cut", "cut after 9 tokens")
    assert events[-1]["status"] == "gave_up"


def test_a_run_ends_with_what_the_user_says(client: TestClient) -> None:
    answer = client.post("/playground/run", json={"messages": [{"role": "system", "content": "x"}]})
    assert answer.status_code == 400


def test_the_model_itself_takes_the_steps(trained: Checkpoint) -> None:
    assistant = Assistant(trained, seconds=3)  # it never learned to come to an end
    with client_of(Service("tiny", trained.catalog, assistant.retriever(), assistant)) as client:
        events = run(client, results="recorded")
    assistant.close()
    first = events[0]
    shares = [one["probability"] for one in first["candidates"]]
    assert first["type"] == "choice"
    assert shares == sorted(shares, reverse=True)
    assert first["candidates"][0]["tool"] == first["tool"]
    assert first["probability"] == pytest.approx(shares[0])
    assert events[-1].get("type") == "end" or events[-1]["error"]["code"] == "deadline"
