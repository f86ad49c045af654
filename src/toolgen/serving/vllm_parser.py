"""In vLLM: what a checkpoint of toolgen writes, as calls of tools by their wire names, and as answers.

    vllm serve CKPT --enable-auto-tool-choice --tool-call-parser toolgen --tool-parser-plugin PATH/vllm_parser.py

Against vLLM's own `response_template` parser: names are legal on the wire, `finish` is an answer, and only what names a tool of
the catalog is a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

from toolgen.catalog import Catalog
from toolgen.catalog.naming import wire_name
from toolgen.checkpoint.layout import CATALOG
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.serving.steps import DECLINED, answer_so_far
from toolgen.serving.vllm_tokens import vocabulary_of

_TOKEN = re.compile(r"<<[^<>]+>>")
_END = re.compile(r"<\|im_end\|>.*", re.S)


class Written(NamedTuple):
    """A text as far as it is written: what stands before an action, the action (a wire name, or one of the two that call
    nothing; None while there is none), and its arguments."""

    content: str
    action: str | None = None
    arguments: str = ""


@ToolParserManager.register_module("toolgen")
class ToolgenParser(ToolParser):  # type: ignore[misc]  # vLLM is not installed here
    """One call a message."""

    supports_required_and_named = False

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        super().__init__(tokenizer, tools)
        self._names = names_of(Path(tokenizer.name_or_path))
        self._told = 0

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """The call or the answer of a whole text."""
        written = read(model_output, self._names)
        if written.action in (None, FINISH, NO_TOOL):
            return ExtractedToolCallInformation(tools_called=False, tool_calls=[], content=said(written))
        function = FunctionCall(name=written.action, arguments=written.arguments)
        return ExtractedToolCallInformation(
            tools_called=True, tool_calls=[ToolCall(function=function)], content=written.content or None
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """What is new of the call or the answer."""
        if not previous_text:
            self._told, self.current_tool_id, self.current_tool_name_sent = 0, -1, False
        written = read(current_text, self._names)
        if written.action is None and "<" in written.content[-2:]:
            return None  # perhaps the beginning of a token's text
        if written.action in (None, FINISH, NO_TOOL):
            text = said(written)
            piece, self._told = text[self._told :], len(text)
            return DeltaMessage(content=piece) if piece else None
        if not self.current_tool_name_sent:
            self.current_tool_id, self.current_tool_name_sent, self._told = 0, True, 0
            function = DeltaFunctionCall(name=written.action, arguments="")
            call = DeltaToolCall(index=0, type="function", id=ToolCall(function=_NO_FUNCTION).id, function=function)
            self.streamed_args_for_tool = [""]
            self.prev_tool_call_arr = [{"name": written.action, "arguments": ""}]
            if not written.arguments:
                return DeltaMessage(tool_calls=[call])
            function.arguments = written.arguments
            self._tell(written.arguments)
            return DeltaMessage(tool_calls=[call])
        piece = written.arguments[self._told :]
        if not piece:
            return None
        self._tell(written.arguments)
        return DeltaMessage(tool_calls=[DeltaToolCall(index=0, function=DeltaFunctionCall(arguments=piece))])

    def _tell(self, arguments: str) -> None:
        self._told = len(arguments)
        self.streamed_args_for_tool[0] = self.prev_tool_call_arr[0]["arguments"] = arguments


_NO_FUNCTION = FunctionCall(name="", arguments="")


def names_of(folder: Path) -> Mapping[str, str]:
    """The wire name, or the action, of each token's text."""
    catalog, vocabulary = Catalog.load(folder / CATALOG), vocabulary_of(folder)
    wire = {vocabulary.token(tool.id): wire_name(tool) for tool in catalog}
    return wire | {vocabulary.token(action): action for action in (FINISH, NO_TOOL)}


def read(text: str, names: Mapping[str, str]) -> Written:
    """What stands in a text."""
    for found in _TOKEN.finditer(text):
        if found[0] in names:
            return Written(text[: found.start()], names[found[0]], _END.sub("", text[found.end() :]).strip())
    return Written(_END.sub("", text))


def said(written: Written) -> str:
    """What a user reads of it."""
    answer = {FINISH: answer_so_far(written.arguments), NO_TOOL: DECLINED}.get(written.action or "", "")
    return written.content + answer
