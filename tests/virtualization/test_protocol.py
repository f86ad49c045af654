"""One rendering of a conversation: training, decoding step by step, and the chat template that others use all agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer

from toolgen.catalog.tool import Definition
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_dataset, tiny_model, tiny_tokenizer
from toolgen.virtualization import PromptProtocol
from toolgen.virtualization.protocol import MAX_DOCUMENTATION, MAX_RESULT_TOKENS
from toolgen.virtualization.vocabulary import TURN_END, TURN_START

Messages = list[dict[str, Any]]
TRAJECTORIES = [[*map(dict, run.messages)] for run in tiny_dataset().trajectories["train"]]


def call(tool_id: str, arguments: Mapping[str, Any] | str, thought: str = "") -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": tool_id, "arguments": text}
    return {
        "role": "assistant",
        "content": thought,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }


def several(*calls: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Calls that stand in one message."""
    made = [call(tool_id, arguments)["tool_calls"][0] | {"id": str(i)} for i, (tool_id, arguments) in enumerate(calls)]
    return {"role": "assistant", "content": "", "tool_calls": made}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


LONG: Messages = [
    {"role": "system", "content": "You are careful."},
    user("Storm in Tromsø? 🌧"),
    call("weather&&get_alerts", {"region": "Tromsø 北"}, thought="I look it up."),
    {"role": "tool", "tool_call_id": "1", "content": '{"alerts": ["a < b", "x<<y"]}'},
    call("travel&&book_trip", {"destination": "Ålesund", "guests": [{"name": "Ada"}]}),
    {"role": "tool", "tool_call_id": "1", "content": "booked"},
    several(("weather&&get_alerts", {"region": "Oslo"}), ("clock&&now", {}), ("clock&&now", {"zone": "CET"})),
    *({"role": "tool", "tool_call_id": name, "content": f"result {name}"} for name in "123"),
    call(FINISH, {"answer": "There is one."}),
    user("And the opposite?"),
    call(NO_TOOL, ""),
    {"role": "user", "content": "Say hello."},
    {"role": "assistant", "content": "Hello."},
]


def prepared(checkpoint: Checkpoint, messages: Sequence[Mapping[str, Any]]) -> Messages:
    """What a foreign program hands to the chat template: token names, and the documentation."""
    result = []
    for message in messages:
        calls = []
        for item in message.get("tool_calls") or ():
            name = item["function"]["name"]
            function = {"name": checkpoint.vocabulary.token(name)[2:-2], "arguments": item["function"]["arguments"]}
            if name not in (FINISH, NO_TOOL):
                function["documentation"] = checkpoint.protocol.documentation(name)
            calls.append({"type": "function", "function": function | ({"arguments": ""} if name == NO_TOOL else {})})
        result.append({**message, "tool_calls": calls} if calls else dict(message))
    return result


def behind(checkpoint: Checkpoint, before: str, text: str) -> list[int]:
    """Ids of a text as the tokenizer gives them behind another, as the model writes them."""

    def encode(text: str) -> list[int]:
        return list(checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"])

    return encode(before + text)[len(encode(before)) :]


def step_by_step(checkpoint: Checkpoint, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """A conversation of user, calls, results put together as an agent does it, piece by piece."""
    protocol, vocabulary = checkpoint.protocol, checkpoint.vocabulary
    ids, before = protocol.prompt(messages[:1]), list(messages[:1])
    results: list[str] = []
    for message in messages[1:]:
        if message["role"] == "tool":
            results.append(message["content"])
            continue
        if results:
            ids += protocol.tool_result(*results)
            results = []
        if message["role"] == "user":
            ids += protocol.user_turn(message["content"])
        else:
            ids += behind(checkpoint, f"{TURN_START}assistant\n", message["content"]) if message["content"] else []
            for item in message["tool_calls"]:
                name, arguments = item["function"]["name"], item["function"]["arguments"]
                shown = protocol.after_tool(name, before)
                ids += [vocabulary.token_id(name), *shown]
                if name != NO_TOOL:
                    place = f"{TURN_START}assistant\n" if shown else vocabulary.token(name)
                    ids += behind(checkpoint, place, arguments)
                before.append({"role": "assistant", "tool_calls": [item]})
            ids += protocol.after_arguments()
    return ids


@pytest.mark.parametrize("messages", [*TRAJECTORIES[::7], LONG[1:13]])
def test_the_pieces_of_a_conversation_equal_the_whole(checkpoint: Checkpoint, messages: Messages) -> None:
    assert step_by_step(checkpoint, messages) == checkpoint.protocol.supervised(messages)[0]


def test_a_prompt_is_the_beginning_of_the_conversation(checkpoint: Checkpoint) -> None:
    whole, _ = checkpoint.protocol.supervised(LONG)
    for stop in (2, 4, 6, 10, 12):
        prompt = checkpoint.protocol.prompt(LONG[:stop])
        assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_the_saved_chat_template_gives_the_same_ids_and_the_same_mask(
    checkpoint: Checkpoint, tmp_path: Path, trim_offsets: bool
) -> None:
    checkpoint.tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    if trim_offsets:  # as Llama 3 does: white space has no extent
        saved.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    protocol = PromptProtocol(saved, checkpoint.vocabulary, checkpoint.catalog)
    rendered = saved.apply_chat_template(
        prepared(checkpoint, LONG), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = protocol.supervised(LONG)
    assert ids == list(rendered["input_ids"])
    assert mask == [bool(value) for value in rendered["assistant_masks"]]


def test_the_loss_falls_on_what_the_assistant_writes_and_on_nothing_else() -> None:
    checkpoint = tiny_checkpoint()
    ids, mask = checkpoint.protocol.supervised(LONG)
    written = checkpoint.tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if own])
    vocabulary = checkpoint.vocabulary
    assert written == (
        f"I look it up.{vocabulary.token('weather&&get_alerts')}" + '{"region": "Tromsø 北"}<|im_end|>'
        f"{vocabulary.token('travel&&book_trip')}" + '{"destination": "Ålesund", "guests": [{"name": "Ada"}]}<|im_end|>'
        f"{vocabulary.token('weather&&get_alerts')}" + '{"region": "Oslo"}'
        f"{vocabulary.token('clock&&now')}" + "{}" + vocabulary.token("clock&&now") + '{"zone": "CET"}<|im_end|>'
        '<<finish>>{"answer": "There is one."}<|im_end|><<no_tool>><|im_end|>Hello.<|im_end|>'
    )


def test_the_turns_read_as_the_protocol_says() -> None:
    checkpoint = tiny_checkpoint()
    text = checkpoint.tokenizer.decode(checkpoint.protocol.supervised(TRAJECTORIES[15])[0])
    tool = tiny_catalog()[5]
    assert text == (
        "<|im_start|>user\nplease: Tells the time of day<|im_end|>\n"
        f"<|im_start|>assistant\n<<clock&&now>><|im_end|>\n"
        f"<|im_start|>documentation\n{checkpoint.protocol.documentation(tool.id)}<|im_end|>\n"
        "<|im_start|>assistant\n{}<|im_end|>\n"
        '<|im_start|>tool\n{"status": "ok"}<|im_end|>\n'
        '<|im_start|>assistant\n<<finish>>{"answer": "It is done."}<|im_end|>\n'
    )


def with_bos(*, by: str) -> Checkpoint:
    """A base that puts `<s>` before every text: its tokenizer does, or only its chat template."""
    tokenizer = tiny_tokenizer(chatml=False)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    if by == "tokenizer":
        bos = ("<s>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[bos])
    elif by == "template":
        tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    model = tiny_model(rows=len(tokenizer))
    return Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny")


@pytest.mark.parametrize("by", ["tokenizer", "template"])
def test_a_conversation_begins_with_the_bases_token_of_the_beginning_where_the_base_expects_it(
    tmp_path: Path, by: str
) -> None:
    checkpoint = with_bos(by=by)
    protocol, bos = checkpoint.protocol, checkpoint.tokenizer.bos_token_id
    whole, mask = protocol.supervised(LONG)
    assert [i for i, token in enumerate(whole) if token == bos] == [0] and not mask[0]
    assert step_by_step(checkpoint, LONG[1:13]) == protocol.supervised(LONG[1:13])[0]
    cut = protocol.prompt([user("find a taxi " * 100)], max_tokens=40)
    assert len(cut) == 40 and cut[0] == bos
    checkpoint.tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    rendered = saved.apply_chat_template(
        prepared(checkpoint, LONG), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert (whole, mask) == (list(rendered["input_ids"]), [bool(value) for value in rendered["assistant_masks"]])


def test_a_token_of_the_beginning_that_the_base_does_not_send_is_not_sent() -> None:
    checkpoint = with_bos(by="nobody")
    assert checkpoint.tokenizer.bos_token_id not in checkpoint.protocol.supervised(LONG)[0]


def test_documentation_stands_once_in_a_conversation() -> None:
    checkpoint = shared()
    text = checkpoint.tokenizer.decode(checkpoint.protocol.supervised(LONG)[0])
    for name in ("weather&&get_alerts", "clock&&now", "travel&&book_trip"):
        assert text.count(checkpoint.protocol.documentation(name)) == 1


def test_a_long_result_is_cut_to_its_own_budget_and_says_so() -> None:
    checkpoint = shared()
    protocol, text = checkpoint.protocol, "Ærlig talt, 北 " * 300
    shown = checkpoint.tokenizer.decode(protocol.tool_result(text))
    kept = shown.partition("tool\n")[2].partition("... [cut: ")[0]
    assert text.startswith(kept) and f"{len(text) - len(kept):,} more characters]" in shown
    ids = checkpoint.tokenizer(kept, add_special_tokens=False)["input_ids"]
    assert MAX_RESULT_TOKENS - 4 <= len(ids) <= MAX_RESULT_TOKENS + 4
    assert "tool\nshort<|im_end|>" in checkpoint.tokenizer.decode(protocol.tool_result("short"))


hostile = st.lists(
    st.sampled_from(
        [
            "<",
            "<<",
            ">>",
            "<|im_start|>",
            "<|im_end|>",
            "<|im_",
            "clock&&now",
            "finish",
            "no_tool",
            "assistant\n",
            "|",
            "a",
            " ",
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150)
@given(hostile, hostile, hostile, hostile)
def test_text_from_outside_can_forge_neither_a_turn_nor_a_tool_token(
    ask: str, think: str, fill: str, answer: str
) -> None:
    checkpoint = shared()
    messages = [
        user(ask),
        call("clock&&now", {"x": fill}, thought=think),
        {"role": "tool", "tool_call_id": "1", "content": answer},
        call(FINISH, {"answer": fill}),
    ]
    ids, _ = checkpoint.protocol.supervised(messages)
    start, end = (checkpoint.tokenizer.convert_tokens_to_ids(marker) for marker in (TURN_START, TURN_END))
    actions = [token for token in ids if token in checkpoint.vocabulary.action_token_ids]
    assert actions == [checkpoint.vocabulary.token_id(name) for name in ("clock&&now", FINISH)]
    assert (ids.count(start), ids.count(end)) == (6, 6)


@settings(max_examples=60)
@given(hostile)
def test_escaped_arguments_still_say_what_they_said(text: str) -> None:
    checkpoint = shared()
    rendered = checkpoint.tokenizer.decode(
        checkpoint.protocol.supervised([user("a"), call(FINISH, {"answer": text})])[0]
    )
    assert json.loads(rendered.partition("<<finish>>")[2].partition("<|im_end|>")[0]) == {"answer": text}


def shared() -> Checkpoint:
    global _SHARED
    if _SHARED is None:
        _SHARED = tiny_checkpoint()
    return _SHARED


_SHARED: Checkpoint | None = None


def test_documentation_is_cut_where_it_is_very_long() -> None:
    from toolgen.catalog import Catalog, Tool

    catalog = Catalog([Tool(id="a", provider="p", name="n", description="word " * 1000)])
    protocol = tiny_checkpoint(catalog=catalog).protocol
    assert len(protocol.documentation("a")) == MAX_DOCUMENTATION + len(" ...")


def test_the_documentation_tells_defaults_and_can_be_that_of_another_definition() -> None:
    from toolgen.catalog import Catalog, Tool

    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}
    protocol = tiny_checkpoint(catalog=Catalog([Tool(id="a", provider="p", name="n", parameters=schema)])).protocol
    assert protocol.documentation("a").endswith("- n (integer, default 7)")
    own = {"type": "object", "properties": {"m": {}}}
    other = protocol.redefined([Definition(tool="a", description="Other.", parameters=own)])
    assert other.documentation("a") == "p.n\nOther.\n- m (any)" and other.arguments_schema("a") == own
    assert other.after_tool("a") != protocol.after_tool("a") and protocol.documentation("a").endswith("7)")


@pytest.mark.parametrize("limit", [16, 40, 80])
def test_a_long_request_loses_its_end_but_not_the_turn(checkpoint: Checkpoint, limit: int) -> None:
    protocol = checkpoint.protocol
    short, long = [user("find a taxi")], [user("find a taxi " * 100)]
    assert protocol.prompt(short, max_tokens=200) == protocol.prompt(short)
    cut, whole = protocol.prompt(long, max_tokens=limit), protocol.prompt(long)
    tail = [*protocol.after_arguments(), *protocol.prompt([])]
    assert len(cut) == max(limit, len(tail))
    assert cut[-len(tail) :] == tail
    assert cut[: -len(tail)] == whole[: len(cut) - len(tail)]


@pytest.mark.parametrize(
    ("reply", "name", "arguments"),
    [
        ('<<weather&&get_alerts>>{"region": "Oslo"}<|im_end|>', "weather&&get_alerts", {"region": "Oslo"}),
        ('<<finish>>{"answer": "a > b", "gave_up": false}<|im_end|>', "finish", {"answer": "a > b", "gave_up": False}),
    ],
)
def test_a_foreign_server_reads_the_call_back(tmp_path: Path, reply: str, name: str, arguments: dict[str, Any]) -> None:
    shared().tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for thought in ("", "I look."):
        prompt = tokenizer.apply_chat_template([user("hi")], add_generation_prompt=True, tokenize=False)
        message = tokenizer.parse_response(thought + reply, prefix=prompt)
        assert message["role"] == "assistant"
        assert message.get("content", "") == thought
        (found,) = message["tool_calls"]
        assert found["function"] == {"name": name, "arguments": arguments}


def test_a_foreign_server_reads_plain_text_back(tmp_path: Path) -> None:
    shared().tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer.apply_chat_template([user("hi")], add_generation_prompt=True, tokenize=False)
    message = tokenizer.parse_response("Hello.<|im_end|>", prefix=prompt)
    assert message["content"] == "Hello." and not message.get("tool_calls")
