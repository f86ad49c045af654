"""Tasks that share the passes of a model get what they get alone, in fewer passes, and end cleanly whatever happens."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.checkpoint import Checkpoint
from toolgen.decoding import ContextFullError, DecodingOptions, Forward, Sampling, Session, ToolDecoder
from toolgen.errors import CheckpointError
from toolgen.inference.attention import share_passes
from toolgen.inference.batching import Task, run_together
from toolgen.testing import ARCHITECTURES, tiny_model

PROMPT = (1, 2, 3)
SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test that waits forever ends the run with the stacks of all threads."""
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__ or sys.stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model()


@pytest.fixture
def passes(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The token ids of each pass that the model makes."""
    seen: list[list[int]] = []
    share_passes(model)  # which looks at the model with a pass of its own
    forward = model.base_model.forward

    def counting(*arguments: Any, **keywords: Any) -> Any:
        seen.append(keywords["input_ids"][0].tolist())
        return forward(*arguments, **keywords)

    monkeypatch.setattr(model.base_model, "forward", counting)
    return seen


def conversation(model: PreTrainedModel, number: int, forward: Forward | None = None) -> Tensor:
    """The scores of a session that grows, is cropped, grows again and begins anew; each number another one."""
    draw = random.Random(number)

    def ids(count: int) -> list[int]:
        return [draw.randrange(512) for _ in range(count)]

    session = Session(model, forward=forward)
    session.sync(ids(3 + 7 * number))
    scores = [session.logits_V]
    scores += [session.extend(ids(1))[0] for _ in range(number + 1)]
    scores += session.extend(ids(4 + number), keep=3)
    for kept in (len(session.ids) - 5, len(session.ids) // 2, 0):
        session.sync([*session.ids[:kept], *ids(4)])
        scores += [session.logits_V, *session.extend(ids(6), keep=6)]
    return torch.stack(scores)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "sliding"])
def test_scores_are_those_of_sessions_alone(architecture: Any) -> None:
    model = tiny_model("qwen2", **SLIDING) if architecture == "sliding" else tiny_model(architecture)
    numbers = range(5)
    alone = [conversation(model, number) for number in numbers]
    together = run_together(model, [partial(conversation, model, number) for number in numbers], 3)
    for left, right in zip(together, alone, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def steps(model: PreTrainedModel, count: int, token: int, forward: Forward) -> list[int]:
    """A task of that many passes with one new token each."""
    session = Session(model, forward=forward)
    for _ in range(count):
        session.extend([token])
    return session.ids


def test_one_pass_serves_all_live_tasks(model: PreTrainedModel, passes: list[list[int]]) -> None:
    ended: list[int] = []
    tasks = [partial(steps, model, count, count) for count in (2, 5, 3, 4)]
    results = run_together(model, tasks, 3, lambda place, _: ended.append(place))
    assert results == [[2] * 2, [5] * 5, [3] * 3, [4] * 4]
    # The last one begins as soon as the first one has ended; results come as they end.
    assert passes == [[2, 5, 3], [2, 5, 3], [5, 3, 4], [5, 4], [5, 4], [4]]
    assert ended == [0, 2, 1, 3]


def test_which_passes_are_made_does_not_depend_on_the_timing_of_threads(
    model: PreTrainedModel, passes: list[list[int]]
) -> None:
    def late(seed: int, number: int, forward: Forward) -> Tensor:
        clock = random.Random(f"{seed} {number}")

        def slow(*arguments: Any) -> Tensor:
            time.sleep(clock.random() / 200)
            return forward(*arguments)

        return conversation(model, number, slow)

    first = run_together(model, [partial(late, 1, number) for number in range(5)], 3)
    made = len(passes)
    second = run_together(model, [partial(late, 2, number) for number in range(5)], 3)
    assert passes[:made] == passes[made:]
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_arguments_of_several_requests_are_written_as_alone_in_fewer_passes(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=24))
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    def write(tool: str, forward: Forward | None = None) -> str:
        session = decoder.session(forward=forward)
        session.sync(checkpoint.protocol.prompt([{"role": "user", "content": f"use {tool}"}]))
        decoder.begin_call(session, tool)
        return decoder.arguments(session, tool).text

    handle = checkpoint.model.base_model.register_forward_pre_hook(count)
    alone = [write(tool) for tool in checkpoint.catalog.ids]
    one_by_one, passes = passes, 0
    together = run_together(checkpoint.model, [partial(write, tool) for tool in checkpoint.catalog.ids], 4)
    handle.remove()
    assert together == alone
    assert passes < one_by_one / 2


def test_what_a_task_draws_depends_on_the_seed_and_the_task_alone(checkpoint: Checkpoint) -> None:
    def draws(task: str, seed: int = 0) -> list[str]:
        decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=20, seed=seed)))
        session = decoder.session(task=task)
        session.sync(PROMPT)
        return [decoder.choose(session).tool for _ in range(20)]

    assert draws("a") == draws("a")
    assert draws("a") != draws("b") and draws("a") != draws("a", seed=1)


def test_a_full_context_is_the_matter_of_one_task(model: PreTrainedModel) -> None:
    def fill(forward: Forward) -> str:
        session = Session(model, forward=forward)
        session.extend([1] * 500)
        with pytest.raises(ContextFullError, match="512"):
            session.extend([1] * 13)
        return "full"

    tasks: list[Task[Any]] = [partial(steps, model, 3, 7), fill, partial(steps, model, 4, 8)]
    assert run_together(model, tasks, 3) == [[7] * 3, "full", [8] * 4]


def test_an_error_of_a_task_stops_the_others_and_is_raised(model: PreTrainedModel, passes: list[list[int]]) -> None:
    def fail(number: int, forward: Forward) -> list[int]:
        steps(model, 2, number, forward)
        raise ValueError(f"task {number}")

    tasks = [partial(steps, model, 400, 9), partial(fail, 1), partial(fail, 2), partial(steps, model, 1, 3)]
    before = threading.active_count()
    with pytest.raises(ValueError, match="task 1"):
        run_together(model, tasks, 3)
    assert len(passes) == 2 and threading.active_count() == before


def test_an_error_of_a_pass_stops_all_tasks_and_is_raised(model: PreTrainedModel) -> None:
    before = threading.active_count()
    with pytest.raises(IndexError):
        run_together(model, [partial(steps, model, 9, token) for token in (1, 2, 1 << 20)], 3)
    assert threading.active_count() == before


def test_an_error_of_the_caller_stops_all_tasks_and_is_raised(model: PreTrainedModel) -> None:
    def refuse(place: int, _: Sequence[int]) -> None:
        raise RuntimeError(f"no room for {place}")

    with pytest.raises(RuntimeError, match="no room for 1"):
        run_together(model, [partial(steps, model, count, 1) for count in (400, 2)], 2, refuse)


def test_an_interrupt_stops_all_tasks(model: PreTrainedModel) -> None:
    def interrupt(forward: Forward) -> list[int]:
        steps(model, 2, 5, forward)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # the caller waits for this task, and hears of the interrupt there
        return steps(model, 2, 5, forward)

    tasks: list[Task[list[int]]] = [partial(steps, model, 400, 1), interrupt]
    before = threading.active_count()
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores the signal
    try:
        with pytest.raises(KeyboardInterrupt):
            run_together(model, tasks, 2)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert threading.active_count() == before


def test_tasks_without_a_pass_and_no_tasks_at_all(model: PreTrainedModel, passes: list[list[int]]) -> None:
    assert run_together(model, [partial(steps, model, 0, 1)] * 20, 4) == [[]] * 20
    nothing: list[Task[int]] = []
    assert run_together(model, nothing, 4) == []
    assert passes == []


def test_a_model_that_cannot_share_passes_is_refused(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model), "_supports_sdpa", False)
    with pytest.raises(CheckpointError, match="cannot run llama models"):
        run_together(model, [], 2)
