"""The plug-ins for vLLM against its types: its own where it is importable (0.33), else stand-ins with the same fields.

No engine runs here: what is tested is what vLLM hands to the plug-ins, and what it takes back.
"""

from __future__ import annotations

import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import torch
from pydantic import BaseModel, Field

from toolgen.catalog.naming import wire_name
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.testing import tiny_checkpoint

ALERTS = "weather&&get_alerts"


class LogitsProcessor(ABC):
    @abstractmethod
    def apply(self, logits: Any, ctx: Any) -> Any: ...


class FunctionCall(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str = Field(default_factory=lambda: f"call_{uuid4().hex}")
    function: FunctionCall


class DeltaFunctionCall(BaseModel):
    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(BaseModel):
    id: str | None = None
    type: str | None = None
    index: int
    function: DeltaFunctionCall | None = None


class ExtractedToolCallInformation(BaseModel):
    tools_called: bool
    tool_calls: list[ToolCall]
    content: str | None = None


class DeltaMessage(BaseModel):
    content: str | None = None
    tool_calls: list[DeltaToolCall] = Field(default_factory=list)


class ToolParser:
    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        self.current_tool_id, self.current_tool_name_sent = -1, False
        self.prev_tool_call_arr: list[Any] = []
        self.streamed_args_for_tool: list[str] = []
        self.model_tokenizer = tokenizer


class ToolParserManager:
    @classmethod
    def register_module(cls, name: str) -> Callable[[type], type]:
        return lambda parser: parser


STAND_INS: dict[str, tuple[Any, ...]] = {
    "vllm.v1.worker.gpu.sample.logits_processor": (LogitsProcessor,),
    "vllm.entrypoints.generate.base.protocol": (
        DeltaFunctionCall,
        DeltaMessage,
        DeltaToolCall,
        ExtractedToolCallInformation,
        FunctionCall,
        ToolCall,
    ),
    "vllm.tool_parsers.abstract_tool_parser": (ToolParser, ToolParserManager),
}


@pytest.fixture(scope="module", autouse=True)
def vllm() -> Iterator[None]:
    """vLLM's modules, as far as the plug-ins import them."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("vllm") is None:
            for name, kinds in STAND_INS.items():
                parts = name.split(".")
                for end in range(1, len(parts) + 1):
                    patch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
                for kind in kinds:
                    setattr(sys.modules[name], kind.__name__, kind)
        for module in ("vllm_tokens", "vllm_parser"):
            patch.delitem(sys.modules, f"toolgen.serving.{module}", raising=False)
        yield
        for module in ("vllm_tokens", "vllm_parser"):
            sys.modules.pop(f"toolgen.serving.{module}", None)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return tiny_checkpoint(spare=2)


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vllm") / "ckpt"
    checkpoint.save(path)
    return path


def asked(**options: Any) -> Any:
    """vLLM's SamplingParams, of which three fields are read."""
    return SimpleNamespace(**{"extra_args": None, "max_tokens": 16, **options})


def processor(folder: Path, rows: int) -> Any:
    plugin = importlib.import_module("toolgen.serving.vllm_tokens")
    config = SimpleNamespace(model_config=SimpleNamespace(model=str(folder)))
    state = SimpleNamespace(device=torch.device("cpu"), max_num_reqs=4, vocab_size=rows)
    return plugin.ActionTokens(config, state)


def test_who_asks_for_a_choice_gets_actions_alone_and_nobody_else_does(checkpoint: Checkpoint, folder: Path) -> None:
    vocabulary, rows = checkpoint.vocabulary, len(checkpoint.tokenizer) + 5  # vLLM pads
    made = processor(folder, rows)
    assert made.add_request(2, asked(extra_args={"toolgen_choose": 1}, max_tokens=1)) is True
    assert made.add_request(0, asked()) is False
    made.apply_staged_writes()
    logits = torch.randn(3, rows)
    before = logits.clone()
    context = SimpleNamespace(expanded_idx_mapping=torch.tensor([0, 2, 1]))
    after = made.apply(logits, context)
    legal = sorted(vocabulary.token_id(name) for name in (FINISH, NO_TOOL, *vocabulary.tool_ids))
    assert after[1].isfinite().nonzero()[:, 0].tolist() == legal
    assert torch.equal(after[1][legal], before[1][legal])
    assert torch.equal(after[[0, 2]], before[[0, 2]])


def test_a_slot_that_another_request_has_now_is_free_again(folder: Path, checkpoint: Checkpoint) -> None:
    made = processor(folder, len(checkpoint.tokenizer))
    made.add_request(1, asked(extra_args={"toolgen_choose": 1}, max_tokens=1))
    made.apply_staged_writes()
    made.add_request(1, asked())
    made.apply_staged_writes()
    logits = torch.zeros(1, len(checkpoint.tokenizer))
    assert made.apply(logits, SimpleNamespace(expanded_idx_mapping=torch.tensor([1]))).isfinite().all()


def test_a_choice_is_one_token() -> None:
    plugin = importlib.import_module("toolgen.serving.vllm_tokens")
    plugin.ActionTokens.validate_params(asked(extra_args={"toolgen_choose": 1}, max_tokens=1))
    plugin.ActionTokens.validate_params(asked())
    with pytest.raises(ValueError, match="set max_tokens to 1"):
        plugin.ActionTokens.validate_params(asked(extra_args={"toolgen_choose": 1}))


def parser(checkpoint: Checkpoint, folder: Path) -> Any:
    plugin = importlib.import_module("toolgen.serving.vllm_parser")
    tokenizer = checkpoint.tokenizer
    return plugin.ToolgenParser(SimpleNamespace(name_or_path=str(folder), get_vocab=tokenizer.get_vocab))


def written(checkpoint: Checkpoint, tool: str, arguments: str, before: str = "") -> str:
    return f"{before}{checkpoint.vocabulary.token(tool)}{arguments}"


@pytest.mark.parametrize(
    ("tool", "arguments", "content", "called"),
    [
        (ALERTS, '{"region": "Oslo"}', None, '{"region": "Oslo"}'),
        (ALERTS, '{"region": "Oslo"}<|im_end|>', None, '{"region": "Oslo"}'),
        (FINISH, '{"answer": "Rain \\"today\\""}', 'Rain "today"', None),
        (NO_TOOL, "", "No tool of the catalog fits this request.", None),
    ],
)
def test_a_text_is_read_whole_and_piece_by_piece(
    checkpoint: Checkpoint, folder: Path, tool: str, arguments: str, content: str | None, called: str | None
) -> None:
    text, made = written(checkpoint, tool, arguments), parser(checkpoint, folder)
    whole = made.extract_tool_calls(text, None)
    calls = [(one.function.name, one.function.arguments) for one in whole.tool_calls]
    expected = [(wire_name(checkpoint.catalog.get(tool)), called)] if called else []
    assert (whole.tools_called, calls, whole.content) == (bool(called), expected, content)
    token, last = checkpoint.vocabulary.token(tool), len(text.removesuffix("<|im_end|>"))
    ends = sorted({len(token), *range(len(token) + 2, last, 3), last, len(text)})  # each token comes as a whole
    pieces = []
    for start, end in zip([0, *ends], ends, strict=False):
        piece = made.extract_tool_calls_streaming(text[:start], text[:end], text[start:end], [], [], [], None)
        pieces += [piece] if piece else []
    assert "".join(piece.content or "" for piece in pieces) == (content or "")
    told = [one for piece in pieces for one in piece.tool_calls]
    assert "".join(one.function.arguments or "" for one in told) == (called or "")
    assert [one.function.name for one in told if one.function.name] == [name for name, _ in expected]
    assert [bool(one.id) for one in told] == [place == 0 for place in range(len(told))]
    if called:
        assert json.loads(made.streamed_args_for_tool[0]) == json.loads(called)


def test_what_only_looks_like_a_tool_is_text(checkpoint: Checkpoint, folder: Path) -> None:
    made, text = parser(checkpoint, folder), "I would call <<weather&&nothing>>{} here"
    found = made.extract_tool_calls(text, None)
    assert (found.tools_called, found.content) == (False, text)
    call = made.extract_tool_calls(written(checkpoint, ALERTS, "{}", text), None)
    assert call.tools_called and call.content == text
