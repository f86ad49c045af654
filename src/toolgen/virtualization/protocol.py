"""PromptProtocol: conversations to token ids, through the chat template that the checkpoint carries.

The turns are the paper's (ToolGen, section 3.3): request; thought (optional); tool token; the documentation of that one
tool, once in a conversation; arguments; further calls that need no result of the first; results; ... until `finish`.
The template in `chat_template.jinja` is the only place that knows their text; this file only fills it. Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from importlib import resources
from typing import Any

from transformers import PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.catalog.tool import Definition
from toolgen.datasets.messages import DOCUMENTATION, FINISH, FINISH_SCHEMA, NO_TOOL
from toolgen.datasets.trajectory import ROLES
from toolgen.virtualization.text_encoder import Encoded, TextEncoder, check_role
from toolgen.virtualization.tokenizer import TOOL_TOKENS, find_end_marker
from toolgen.virtualization.vocabulary import ACTIONS, TURN_END, TURN_START, ToolVocabulary
from toolgen.virtualization.windows import windows

Part = tuple[int, int, float]
"""Where a part of a text begins and ends, and a number for it."""

RESPONSE_TEMPLATE: Mapping[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": f"{TURN_START}assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<<(?P<name>[^<>]+)>>",
            "close_pattern": r"(?=<<)|(?=<\|im_end\|>)",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"\s*<\|im_end\|>", "content": "text"},
    },
}
"""How a foreign server reads the model's output back (`tokenizer.parse_response`, transformers 5.16)."""

MAX_DOCUMENTATION = 2000
"""Characters of one tool's documentation that the model is shown; the longest hundred of BFCL are cut by it."""

MAX_RESULT_TOKENS = 256
"""Tokens of one tool's result that the model is shown, so that one result does not push the conversation out of its context."""


def chat_template(*, bos: bool = False) -> str:
    """The text of `chat_template.jinja`; with `bos`, conversations begin with the base's token of the beginning."""
    text = resources.files("toolgen.virtualization").joinpath("chat_template.jinja").read_text(encoding="utf-8")
    return "{{- bos_token -}}\n" + text if bos else text


class PromptProtocol:
    """Renders messages whose tool calls name *tool ids* (or `finish`, `no_tool`) into token ids.

    Training and decoding both go through it, so what is trained is what is asked. `encoder` is the tokenizer's, if at hand.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: ToolVocabulary,
        catalog: Catalog,
        encoder: TextEncoder | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.encoder = encoder or TextEncoder(tokenizer)
        # The tokens that the template writes; in all other text it breaks them up.
        begin = [rf"\A{re.escape(tokenizer.bos_token)}"] if tokenizer.bos_token else []
        self._own = re.compile("|".join([*begin, re.escape(TURN_START), re.escape(TURN_END), TOOL_TOKENS.pattern]))
        self._vocabulary = vocabulary
        self._catalog = catalog
        self._template = tokenizer.chat_template or chat_template()
        self.end_id = find_end_marker(tokenizer)
        self._header = self._encode(self._render([], add_generation_prompt=True))
        # Encoded behind the marker: some tokenizers put a space before a text that stands alone.
        self._after_arguments = self._encode(f"{TURN_END}\n")

    def extended(self, vocabulary: ToolVocabulary, catalog: Catalog) -> PromptProtocol:
        """The same protocol for more tools, whose tokens the tokenizer has."""
        other = copy(self)
        other._vocabulary, other._catalog = vocabulary, catalog
        return other

    def redefined(self, definitions: Iterable[Definition]) -> PromptProtocol:
        """The same protocol, where some tools are defined otherwise than the catalog says."""
        return self.showing(self._catalog.redefined(definitions))

    def showing(self, catalog: Catalog) -> PromptProtocol:
        """The same protocol, which shows the same tools as another catalog describes them."""
        other = copy(self)
        other._catalog = catalog
        return other

    def prompt(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int | None = None) -> list[int]:
        """Token ids up to where the assistant chooses its action; beyond `max_tokens` the last message loses its end."""
        ids = self._encode(self._render(messages, begins=True, add_generation_prompt=True))
        if max_tokens is None or len(ids) <= max_tokens:
            return ids
        tail = [*self.after_arguments(), *self._header]
        return [*ids[: max(0, max_tokens - len(tail))], *tail]

    def after_tool(self, tool_id: str, messages: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids between a tool token and its arguments: the documentation turn; nothing for an action, nor for a tool whose
        documentation the `messages` before show."""
        if tool_id in ACTIONS:
            return []
        call = {"role": "assistant", "tool_calls": [{"function": {"name": tool_id}}]}
        before = [message for message in messages if tool_id in _called(message)]
        text = self._render([*before, call], add_generation_prompt=False)
        token = self._vocabulary.token(tool_id)
        return self._encode(text[text.rindex(token) + len(token) :])

    def after_arguments(self) -> list[int]:
        """Closes the assistant's turn."""
        return list(self._after_arguments)

    def tool_result(self, *texts: str) -> list[int]:
        """The turns with the results of the calls of one message, and the header of the next assistant turn."""
        return self._next_turn("tool", *texts)

    def user_turn(self, text: str) -> list[int]:
        """A further request of the user and the header of the next assistant turn."""
        return self._next_turn("user", text)

    def documentation(self, tool_id: str) -> str:
        """What the model is shown of a tool once it has chosen it."""
        text = document(self._catalog.get(tool_id), defaults=True)
        return text if len(text) <= MAX_DOCUMENTATION else text[:MAX_DOCUMENTATION] + " ..."

    def arguments_schema(self, tool_id: str) -> Mapping[str, Any]:
        """JSON Schema that the arguments of a tool (or of `finish`) are decoded under."""
        return FINISH_SCHEMA if tool_id == FINISH else self._catalog.get(tool_id).parameters

    def supervised(self, messages: Sequence[Mapping[str, Any]], new: int = 0) -> tuple[list[int], list[bool]]:
        """A whole conversation as (token ids, whether the assistant wrote each of them in the messages from `new` on).

        The mask comes from the template's generation markers.
        """
        encoded, spans, _ = self._written(messages, new)
        return encoded.ids, encoded.within(spans)

    def weighed(
        self,
        messages: Sequence[Mapping[str, Any]],
        new: int,
        weigh: Callable[[Sequence[tuple[int, str]]], Iterable[Part]],
    ) -> tuple[list[int], list[float]]:
        """The same with a weight for each token, 0 where the assistant did not write it: the largest of the parts that it
        touches. `weigh` gets the pieces of text that the assistant wrote, with their places."""
        encoded, spans, text = self._written(messages, new)
        weights = encoded.largest(weigh([(start, text[start:stop]) for start, stop in spans]))
        return encoded.ids, [weight if own else 0.0 for weight, own in zip(weights, encoded.within(spans), strict=True)]

    def _written(self, messages: Sequence[Mapping[str, Any]], new: int) -> tuple[Encoded, list[tuple[int, int]], str]:
        """The conversation, where in its text the assistant wrote from the message `new` on, and the text."""
        spans: list[tuple[int, int]] = []
        text = self._render(messages, begins=True, add_generation_prompt=False, on_spans=spans.extend)
        old = len(self._render(messages[:new], begins=True, add_generation_prompt=False)) if new else 0
        return self.encoder.encode(text, self._own), [span for span in spans if span[0] >= old], text

    def unfinished(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids up to where the last message, calls of the assistant, could go on with one more."""
        ids = self._encode(self._render(messages, begins=True, add_generation_prompt=False))
        return ids[: len(ids) - len(self._after_arguments)]

    def windows(
        self, messages: Sequence[Mapping[str, Any]], budget: int
    ) -> list[tuple[Sequence[Mapping[str, Any]], int]]:
        """What is shown of a conversation as it grows, each with the place in it from which on the messages are new."""
        lengths = [len(self._encode(self._render([message], add_generation_prompt=False))) for message in messages]
        found = windows([message["role"] for message in messages], lengths, budget)
        return [([messages[place] for place in one.shown], one.shown.index(one.new)) for one in found]

    def _next_turn(self, role: str, *texts: str) -> list[int]:
        messages = [{"role": role, "content": text} for text in texts]
        return self._encode(self._render(messages, add_generation_prompt=True))

    def _encode(self, text: str) -> list[int]:
        return self.encoder.encode(text, self._own).ids

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        begins: bool = False,
        on_spans: Callable[[list[tuple[int, int]]], None] | None = None,
    ) -> str:
        """The text of messages; `begins`: they are the beginning of a conversation, not its next turns."""
        from transformers.utils.chat_template_utils import render_jinja_template

        prepared = [self._prepare(message) for message in messages]
        rendered, spans = render_jinja_template(
            conversations=[prepared],
            chat_template=self._template,
            return_assistant_tokens_mask=on_spans is not None,
            add_generation_prompt=add_generation_prompt,
            bos_token=self._tokenizer.bos_token if begins else "",
        )
        if on_spans is not None:
            on_spans([(int(start), int(stop)) for start, stop in spans[0]])
        text: str = rendered[0]
        return text

    def _prepare(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        check_role(message["role"], (*ROLES, DOCUMENTATION))
        calls = message.get("tool_calls") or ()
        if message["role"] == "tool":
            return {**message, "content": self._cut(message["content"] or "")}
        if not calls:
            return message
        prepared = self._call(*(call["function"] for call in calls))
        return {**prepared, "content": message.get("content") or ""}

    def _cut(self, result: str) -> str:
        kept = self.encoder.beginning(result, MAX_RESULT_TOKENS)
        return result if kept == result else f"{kept}... [cut: {len(result) - len(kept):,} more characters]"

    def _call(self, *functions: Mapping[str, Any]) -> dict[str, Any]:
        """An assistant message whose calls carry token names and documentation, as the template wants them."""
        calls = []
        for function in functions:
            tool_id = function["name"]
            prepared = {"name": self._vocabulary.token(tool_id).removeprefix("<<").removesuffix(">>")}
            if tool_id not in ACTIONS:
                prepared["documentation"] = self.documentation(tool_id)
            if tool_id == NO_TOOL:
                prepared["arguments"] = ""
            elif function.get("arguments") is not None:
                prepared["arguments"] = function["arguments"]
            calls.append({"type": "function", "function": prepared})
        return {"role": "assistant", "content": "", "tool_calls": calls}


def _called(message: Mapping[str, Any]) -> set[str]:
    """The names of the tools and actions that a message calls."""
    return {call["function"]["name"] for call in message.get("tool_calls") or ()}
