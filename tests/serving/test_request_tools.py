"""Tools of requests: on spare tokens they are what tools added to the checkpoint are, and nothing else changes."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import openai
import pytest
import torch
from tests.serving.conftest import ALERTS, Script, answer, call, served, wire

from toolgen.agent import GenerativePolicy
from toolgen.catalog import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.errors import DeadlineError
from toolgen.inference.late_tools import LateRows
from toolgen.inference.passes import Runner
from toolgen.inference.row_maker import RowMaker, write_rows
from toolgen.serving import request_tools
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.errors import BusyError, FormatError
from toolgen.serving.request_tools import RequestTools
from toolgen.serving.service import Service
from toolgen.serving.steps import Step
from toolgen.testing import Architecture, tiny_checkpoint
from toolgen.virtualization import output_rows

MESSAGES: list[Any] = [{"role": "user", "content": "brew a pot of tea"}]
TEA = {"type": "object", "properties": {"cups": {"type": "integer", "maximum": 9}}, "required": ["cups"]}


def tool(name: str, parameters: Any = TEA) -> Tool:
    return Tool(id=name, provider="", name=name, description=f"Makes {name} for guests", parameters=parameters)


def with_maker(checkpoint: Checkpoint) -> Checkpoint:
    """Whose rows are read off the documentation by passes."""
    write_rows(checkpoint, RowMaker(checkpoint.model.config.hidden_size))
    return checkpoint


def opened(url: str) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def chosen(policy: GenerativePolicy, tools: list[str] | None = None) -> tuple[str, Any, int]:
    action = policy.conversation(Runner(policy.checkpoint.model)).act(MESSAGES, tools, required=True, tokens=300)
    assert action.diagnostics is not None
    return action.tool, action.diagnostics.probability, action.tokens


@pytest.mark.parametrize(("architecture", "tied"), [("llama", True), ("qwen2", False)])
def test_a_tool_of_a_request_is_what_with_tools_makes_of_it(architecture: Architecture, tied: bool) -> None:
    one, other = (tiny_checkpoint(architecture=architecture, tied=tied, spare=4) for _ in range(2))
    late = [tool("tea"), tool("coffee")]
    added = GenerativePolicy(other.with_tools(late))
    with RequestTools(GenerativePolicy(one)).lent(late) as policy:
        for names in (None, ["tea"], ["coffee", "tea"], ["tea", ALERTS]):
            assert chosen(policy, names) == chosen(added, names)
        history: list[Any] = [
            *MESSAGES,
            {"role": "assistant", "tool_calls": [{"function": {"name": "tea", "arguments": '{"cups": 2}'}}]},
            {"role": "tool", "tool_call_id": "a", "content": "done"},
        ]
        ids = policy.decoder.protocol.prompt(history)
        assert ids.count(policy.checkpoint.vocabulary.token_id("tea")) == 1
        assert len(ids) == len(added.decoder.protocol.prompt(history))


def test_the_other_rows_and_the_checkpoint_stay_as_they_are() -> None:
    checkpoint = tiny_checkpoint(spare=2)
    spare = checkpoint.vocabulary.free_token_ids
    before = output_rows(checkpoint.model).detach().clone()
    with RequestTools(GenerativePolicy(checkpoint)).lent([tool("tea")]):
        pass
    changed = (output_rows(checkpoint.model) != before).any(1).nonzero()[:, 0].tolist()
    assert len(changed) == 1 and changed[0] in spare
    assert "tea" not in checkpoint.catalog and "tea" not in checkpoint.vocabulary.tool_ids


def test_tokens_are_lent_again_to_what_comes_later_and_kept_for_what_comes_again() -> None:
    room = RequestTools(GenerativePolicy(tiny_checkpoint(spare=2)))

    def token_of(name: str) -> str:
        with room.lent([tool(name)]) as policy:
            return policy.checkpoint.vocabulary.token(name)

    tea, coffee = token_of("tea"), token_of("coffee")
    assert token_of("tea") == tea != coffee
    assert token_of("milk") == coffee  # it had not been used for longer
    with room.lent([tool("tea")]), room.lent([tool("milk")]), pytest.raises(BusyError), room.lent([tool("coffee")]):
        pass
    assert token_of("coffee") in (tea, coffee)
    with pytest.raises(FormatError, match="room for 2"):
        room.check([tool(name) for name in "abc"])


def test_a_request_that_fails_keeps_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = GenerativePolicy(tiny_checkpoint(spare=1))
    room = RequestTools(policy)
    with monkeypatch.context() as patch:
        patch.setattr(policy, "extended", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), room.lent([tool("tea")]):
            pass
    with room.lent([tool("coffee")]) as lent:
        assert "coffee" in lent.checkpoint.catalog


def test_who_waits_for_what_all_rows_need_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Event()

    def slow(*_given: Any, **_how: Any) -> LateRows:
        assert ready.wait(20)
        return LateRows(*_given, **_how)

    monkeypatch.setattr(request_tools, "LateRows", slow)
    checkpoint = tiny_checkpoint(max_position_embeddings=2048, spare=1)
    assistant = Assistant(checkpoint, seconds=0.5)
    try:
        with pytest.raises(DeadlineError):
            assistant.count(Step(messages=MESSAGES, own=(tool("tea"),))).result(20)
        without = assistant.count(Step(messages=MESSAGES)).result(20)
        ready.set()
        assert assistant.count(Step(messages=MESSAGES, own=(tool("tea"),))).result(20) == without
    finally:
        ready.set()
        assistant.close()


def test_the_preparation_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def reads_on(_checkpoint: Checkpoint, on_progress: Any) -> LateRows:
        for _ in range(2000):
            on_progress(0, 0)
            begun.set()
            time.sleep(0.01)
        raise AssertionError("it goes on after the end")

    monkeypatch.setattr(request_tools, "LateRows", reads_on)
    assistant = Assistant(tiny_checkpoint(max_position_embeddings=2048, spare=1))
    waiting = assistant.count(Step(messages=MESSAGES, own=(tool("tea"),)))
    assert begun.wait(20)
    assistant.close()
    with pytest.raises(CancelledError):
        waiting.result(20)


def test_known_tools_do_not_wait_for_the_rows_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    room = RequestTools(GenerativePolicy(tiny_checkpoint(spare=2)))
    with room.lent([tool("tea")]):
        pass
    reads, goes_on = threading.Event(), threading.Event()
    made = LateRows.of

    def slow(rows: LateRows, *given: Any) -> Any:
        reads.set()
        assert goes_on.wait(20)
        return made(rows, *given)

    monkeypatch.setattr(LateRows, "of", slow)

    def brew() -> bool:
        with room.lent([tool("milk")]) as policy:
            return "milk" in policy.checkpoint.catalog

    with ThreadPoolExecutor(1) as other:
        milk = other.submit(brew)
        assert reads.wait(20)
        with room.lent([tool("tea")]) as policy:
            assert "tea" in policy.checkpoint.catalog and not milk.done()
        goes_on.set()
        assert milk.result(20)


def test_who_leaves_while_its_tools_are_read_leaves_their_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    room = RequestTools(GenerativePolicy(with_maker(tiny_checkpoint(spare=1))))

    def gone() -> None:
        raise CancelledError

    with pytest.raises(CancelledError), room.lent([tool("tea")], gone):
        pass
    with room.lent([tool("coffee")]) as policy:
        assert "coffee" in policy.checkpoint.catalog


def test_a_token_that_another_tool_has_now_is_read_anew(checkpoint: Checkpoint) -> None:
    """Beginnings that the engine keeps hold the states of the tool that had the token before."""
    assistant = Assistant(tiny_checkpoint(max_position_embeddings=2048, spare=1))
    messages: list[Any] = [
        {"role": "user", "content": "brew something, please, as you did before " * 20},
        {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": '{"cups": 2}'}}]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]

    def scores(name: str, passes: Any = None) -> torch.Tensor:
        with assistant._own.lent([tool(name)]) as policy:
            messages[1]["tool_calls"][0]["function"]["name"] = name
            session = policy.conversation(passes or assistant.engine)._session
            session.sync(policy.decoder.protocol.prompt(messages))
            return session.logits_V

    try:
        scores("tea")
        torch.testing.assert_close(
            scores("milk"), scores("milk", Runner(assistant.checkpoint.model)), atol=1e-4, rtol=0
        )
    finally:
        assistant.close()


def test_each_kind_of_client_may_call_what_its_request_lists(
    address: str, script: Script, checkpoint: Checkpoint
) -> None:
    script.asked, script.actions = [], [call("tea", cups=2) for _ in range(2)]
    function = {"name": "tea", "description": "Makes tea", "parameters": TEA}
    with opened(address) as client:
        chat = client.chat.completions.create(
            model="tiny",
            messages=MESSAGES,
            tools=[{"type": "function", "function": function}],
        )
        with_search = client.responses.create(
            model="tiny",
            input="tea",
            tools=[{"type": "tool_search"}, {"type": "function", **function}],
        )
    (made,) = chat.choices[0].message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == ("tea", {"cups": 2})
    assert [item.type for item in with_search.output] == ["function_call"]  # listed, so not searched for
    assert [asked["tools"] for asked in script.asked] == [("tea",), None]


def test_a_name_that_the_catalog_has_means_the_request_s_tool_if_it_is_defined_there(
    address: str, script: Script, checkpoint: Checkpoint
) -> None:
    script.asked, script.actions = [], [answer() for _ in range(3)]
    own = {"name": ALERTS, "description": "Mine", "parameters": TEA}
    with opened(address) as client:
        for function in ({"name": ALERTS}, {"name": wire(checkpoint), "parameters": {}}, own):
            listed: Any = [{"type": "function", "function": function}]
            client.chat.completions.create(model="tiny", messages=MESSAGES, tools=listed)
    assert [asked["tools"] for asked in script.asked] == [(ALERTS,), (ALERTS,), (f"{ALERTS}#",)]


def test_the_model_itself_calls_the_tools_of_several_requests_at_once() -> None:
    checkpoint = tiny_checkpoint(max_position_embeddings=2048, spare=6)
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    names: dict[str, tuple[str, Any]] = {}
    with served(make_app(service), assistant.close) as url:

        def ask(name: str) -> None:
            schema = {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]}
            listed: Any = [{"type": "function", "function": {"name": name, "parameters": schema}}]
            with opened(url) as client:
                done = client.chat.completions.create(
                    model="tiny",
                    messages=MESSAGES,
                    tools=listed,
                    tool_choice="required",
                    parallel_tool_calls=False,
                )
            (made,) = done.choices[0].message.tool_calls
            names[name] = made.function.name, json.loads(made.function.arguments).keys()

        threads = [threading.Thread(target=ask, args=(name,)) for name in ("tea", "coffee", "milk") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert names == {name: (name, {name: 0}.keys()) for name in ("tea", "coffee", "milk")}


def test_tools_of_several_tokens_take_none_of_a_request() -> None:
    checkpoint = tiny_checkpoint(indexing="hierarchical", max_position_embeddings=2048)
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    listed: Any = [{"type": "function", "function": {"name": "tea", "parameters": TEA}}]
    raised = pytest.raises(openai.BadRequestError, match="hierarchical")
    with served(make_app(service), assistant.close) as url, opened(url) as client, raised:
        client.chat.completions.create(model="tiny", messages=MESSAGES, tools=listed)


def test_what_rows_of_all_tools_need_is_found_for_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = GenerativePolicy(tiny_checkpoint(spare=4, tied=True))
    whitened: list[int] = []
    eigh = torch.linalg.eigh

    def counted(matrix: torch.Tensor) -> Any:
        whitened.append(len(matrix))
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    room = RequestTools(policy)  # it begins with that at once, in a thread
    for name in ("tea", "coffee", "milk"):
        with room.lent([tool(name)]):
            pass
    assert len(whitened) == 1
