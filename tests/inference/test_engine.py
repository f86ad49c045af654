"""Whoever uses the engine gets what he gets alone, in fewer passes, and nobody holds up another."""

from __future__ import annotations

import faulthandler
import gc
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.checkpoint import Checkpoint
from toolgen.decoding import ContextFullError, DecodingOptions, Sampling, Session, ToolDecoder
from toolgen.errors import CheckpointError, DeadlineError, UsageError
from toolgen.inference.cache import KeyValues
from toolgen.inference.engine import Engine, Handle, Work
from toolgen.inference.passes import Part, Passes, Runner
from toolgen.inference.requests import FreeText, Scores
from toolgen.testing import ARCHITECTURES, tiny_model

PROMPT = (1, 2, 3)
SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


@pytest.fixture(autouse=True)
def no_hang_and_no_leak() -> Iterator[None]:
    """A test that waits forever ends the run with the stacks of all threads; one that leaves threads behind fails."""
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__ or sys.stderr)
    before = {*threading.enumerate()}
    yield
    faulthandler.cancel_dump_traceback_later()
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("toolgen")]
    for thread in left:
        thread.join(2)
    assert not any(thread.is_alive() for thread in left)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model()


@dataclass(frozen=True)
class Asked:
    """A request made of a function."""

    work: Callable[[Work], Any]

    def run(self, work: Work) -> Any:
        return self.work(work)


class Slowed:
    """Passes that come late; they tell when one is under way."""

    def __init__(self, engine: Engine) -> None:
        self.seen: list[list[list[int]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        run = engine._runner.run

        def slow(parts: Sequence[Part]) -> list[Tensor]:
            self.seen.append([list(part.ids) for part in parts])
            self.begun.set()
            assert self.gate.wait(60)
            return run(parts)

        engine._runner.run = slow  # type: ignore[method-assign]


def conversation(passes: Passes, number: int) -> Tensor:
    """The scores of a session that grows, is cropped, grows again and begins anew; each number another one."""
    draw = random.Random(number)

    def ids(count: int) -> list[int]:
        return [draw.randrange(512) for _ in range(count)]

    session = Session(passes)
    session.sync(ids(3 + 17 * number))
    scores = [session.logits_V]
    scores += [session.extend(ids(1))[0] for _ in range(number + 1)]
    scores += session.extend(ids(4 + number), keep=3)
    for kept in (len(session.ids) - 5, len(session.ids) // 2, 0):
        session.sync([*session.ids[:kept], *ids(4)])
        scores += [session.logits_V, *session.extend(ids(6), keep=6)]
    return torch.stack(scores)


def plain(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """The model's own logits after a sequence."""
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([[*ids]]), use_cache=False).logits[0, -1]
    return logits


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "sliding"])
@pytest.mark.parametrize("pass_tokens", [7, 512])
def test_scores_are_those_of_sessions_alone(architecture: Any, pass_tokens: int) -> None:
    model = tiny_model("qwen2", **SLIDING) if architecture == "sliding" else tiny_model(architecture)
    alone = [conversation(Runner(model), number) for number in range(5)]
    with Engine(model, pass_tokens=pass_tokens, shared_tokens=3) as engine:
        requests = [Asked(lambda work, number=number: conversation(work, number)) for number in range(5)]  # type: ignore[misc]
        together = dict(engine.each(requests, 3))
    for number, scores in enumerate(alone):
        torch.testing.assert_close(together[number], scores, rtol=1e-4, atol=1e-5)


def test_a_session_alone_has_the_models_own_scores(model: PreTrainedModel) -> None:
    session = Session(Runner(model))
    for ids in ([5, 6, 7, 8], [5, 6, 9], [5, 6, 9], [5, 6, 9, *range(40)], [1]):
        session.sync(ids)
        torch.testing.assert_close(session.logits_V, plain(model, ids), rtol=1e-4, atol=1e-5)


def test_one_pass_serves_all_that_wait(model: PreTrainedModel) -> None:
    with Engine(model) as engine:
        slowed = Slowed(engine)
        slowed.gate.clear()
        first = engine.submit(Scores((9,)))
        assert slowed.begun.wait(60)
        others = [engine.submit(Scores((token, 2))) for token in (3, 4, 5)]
        while len(engine._jobs) < 4:
            time.sleep(0.01)
        slowed.gate.set()
        for token, handle in zip((3, 4, 5), others, strict=True):
            torch.testing.assert_close(handle.result(60), plain(model, (token, 2)), rtol=1e-4, atol=1e-5)
        first.result(60)
    assert [sorted(one) for one in slowed.seen] == [[[9]], [[3, 2], [4, 2], [5, 2]]]


def test_a_long_prompt_does_not_hold_up_who_writes(model: PreTrainedModel) -> None:
    long = [token % 500 for token in range(400)]
    with Engine(model, shared_tokens=16, prefix_mebibytes=0) as engine:
        session = engine.session()
        session.sync(PROMPT)
        slowed = Slowed(engine)
        slowed.gate.clear()
        blocker = engine.submit(Scores((9,)))
        assert slowed.begun.wait(60)
        reader = engine.submit(Scores(long))
        writer = engine.submit(Asked(lambda _: [session.extend([token]) for token in range(5)]))
        while len(engine._jobs) < 3:
            time.sleep(0.01)
        slowed.gate.set()
        writer.result(60)
        torch.testing.assert_close(reader.result(60), plain(model, long), rtol=1e-4, atol=1e-4)
        blocker.result(60)
    together = next(one for one in slowed.seen if len(one) == 2)
    assert [len(ids) for ids in together] == [1, 16]


def test_what_is_more_urgent_goes_first(model: PreTrainedModel) -> None:
    with Engine(model, pass_tokens=3) as engine:
        slowed = Slowed(engine)
        slowed.gate.clear()
        handles = [engine.submit(Scores((9,)))]
        assert slowed.begun.wait(60)
        for count, priority in enumerate((1, 0, -1), 2):
            handles.append(engine.submit(Scores((priority + 5,) * 3), priority=priority))
            while len(engine._jobs) < count:
                time.sleep(0.01)
        slowed.gate.set()
        for handle in handles:
            handle.result(60)
    assert slowed.seen == [[[9]], [[4] * 3], [[5] * 3], [[6] * 3]]


def test_known_beginnings_are_not_read_again(model: PreTrainedModel) -> None:
    draw = random.Random(0)
    beginning = [draw.randrange(500) for _ in range(70)]
    prompts = [[*beginning, *(draw.randrange(500) for _ in range(count))] for count in (0, 1, 9, 40)]
    with Engine(model) as engine:
        for prompt in prompts:
            scores = engine.submit(Scores(prompt)).result(60)
            torch.testing.assert_close(scores, plain(model, prompt), rtol=1e-4, atol=1e-5)
        assert engine.prefixes.found == 3 * 64
        session = engine.session()
        session.sync(prompts[3])
        session.sync([*prompts[3][:50], 7, 8])  # what it changes is its own
        torch.testing.assert_close(
            engine.submit(Scores(prompts[3])).result(60), plain(model, prompts[3]), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(session.logits_V, plain(model, session.ids), rtol=1e-4, atol=1e-5)


def test_a_prompt_cut_inside_a_block_is_read_on_when_another_has_had_its_beginning(model: PreTrainedModel) -> None:
    draw = random.Random(0)
    prompt, other = ([draw.randrange(500) for _ in range(count)] for count in (76, 20))
    with Engine(model, pass_tokens=50) as engine:
        slowed = Slowed(engine)
        slowed.gate.clear()
        run, again = engine._runner.run, list[Handle[Tensor]]()

        def waits_for(count: int) -> None:
            while len(engine._jobs) < count:
                time.sleep(0.01)

        def joined(parts: Sequence[Part]) -> list[Tensor]:
            if [len(part.ids) for part in parts] == [
                20,
                30,
            ]:  # the same prompt, more urgent, while 30 tokens of it are read
                again.append(engine.submit(Scores(prompt), priority=-1))
                waits_for(3)
            return run(parts)

        engine._runner.run = joined  # type: ignore[method-assign]
        blocker = engine.submit(Scores((9,)))
        assert slowed.begun.wait(60)
        ahead, cut = engine.submit(Scores(other), priority=-2), engine.submit(Scores(prompt))
        waits_for(3)
        slowed.gate.set()
        blocker.result(20)
        torch.testing.assert_close(ahead.result(20), plain(model, other), rtol=1e-4, atol=1e-4)
        for handle in (cut, *again):
            torch.testing.assert_close(handle.result(20), plain(model, prompt), rtol=1e-4, atol=1e-4)
        assert again


def test_the_cache_of_beginnings_is_bounded(model: PreTrainedModel) -> None:
    with Engine(model, prefix_mebibytes=0.1) as engine:
        for seed in range(12):
            draw = random.Random(seed)
            engine.submit(Scores([draw.randrange(500) for _ in range(100)])).result(60)
            assert engine.prefixes.size <= 0.1 * 2**20
        assert engine.prefixes.size == sum(
            keys.nbytes + values.nbytes for block in engine.prefixes._blocks.values() for keys, values in block.values()
        )
        assert engine.prefixes.size > 0.05 * 2**20


def test_text_comes_token_by_token_as_it_is_written(model: PreTrainedModel) -> None:
    with Engine(model) as engine:
        handle = engine.submit(FreeText(PROMPT, 12))
        events = [*handle]
        assert events == handle.result(60) and len(events) == 12
        expected = model.generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, pad_token_id=0)[
            0, 3:
        ].tolist()
        assert events == expected
        stopped = engine.submit(FreeText(PROMPT, 12, stops={expected[4]})).result(60)
        assert stopped == expected[: expected.index(expected[4])]


def test_a_cancelled_request_ends_and_the_others_go_on(model: PreTrainedModel) -> None:
    with Engine(model, concurrency=3) as engine:
        endless = engine.submit(FreeText(PROMPT, 10**6))
        next(iter(endless))
        other = engine.submit(FreeText((4, 5), 20))
        endless.cancel()
        with pytest.raises(CancelledError):
            endless.result(60)
        assert other.result(60) == FreeText((4, 5), 20).run(Work(engine, endless._ticket.__class__(), lambda _: None))
        assert not engine._jobs


def test_a_request_that_waits_can_be_cancelled_at_once(model: PreTrainedModel) -> None:
    block = threading.Event()
    with Engine(model, concurrency=1) as engine:
        first = engine.submit(Asked(lambda _: block.wait(60)))
        second = engine.submit(Scores(PROMPT))
        second.cancel()
        with pytest.raises(CancelledError):
            second.result(1)
        assert [*second] == []
        block.set()
        assert first.result(60) is True


def test_a_deadline_ends_a_request_with_one_line(model: PreTrainedModel) -> None:
    with Engine(model) as engine:
        handle = engine.submit(FreeText(PROMPT, 10**6), deadline=0.05)
        with pytest.raises(DeadlineError, match="longer than its deadline") as caught:
            handle.result(60)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ends", [ValueError, CancelledError])
def test_a_request_that_failed_leaves_no_sequence_behind(model: PreTrainedModel, ends: type[BaseException]) -> None:
    caches: list[weakref.ref[KeyValues]] = []

    def run(work: Work) -> None:
        session = work.session()
        session.extend(PROMPT)
        caches.append(weakref.ref(session._cache))
        if ends is ValueError:
            raise ValueError
        while True:
            session.sync(PROMPT)

    gc.disable()
    try:
        with Engine(model) as engine:
            handle = engine.submit(Asked(run))
            while not caches:
                time.sleep(0.01)
            handle.cancel()
            with pytest.raises(ends):
                handle.result(60)
            until = time.monotonic() + 10  # the engine's thread has its last pass at hand until it ends
            while caches[0]() is not None and time.monotonic() < until:
                time.sleep(0.05)
        assert caches[0]() is None
    finally:
        gc.enable()


def test_a_deadline_is_heard_while_the_request_waits_for_its_turn(model: PreTrainedModel) -> None:
    gate = threading.Event()
    with Engine(model, concurrency=1) as engine:
        first = engine.submit(Asked(lambda work: gate.wait(30)))
        second = engine.submit(Scores(PROMPT), deadline=0.05)
        with pytest.raises(DeadlineError):
            second.result(10)
        assert [*second] == []
        assert not first.done
        gate.set()
        assert first.result(10)
        assert engine.submit(Scores(PROMPT), deadline=60).result(10) is not None


def test_beginnings_are_read_again_when_the_weights_have_changed(model: PreTrainedModel) -> None:
    ids = [random.Random(0).randrange(512) for _ in range(100)]
    with Engine(model) as engine:
        engine.submit(Scores(ids)).result(10)
        with torch.no_grad():
            for parameter in model.base_model.layers.parameters():
                parameter.mul_(1.5)
        found = engine.submit(Scores(ids)).result(10)
    torch.testing.assert_close(found, Runner(model).run([Part(ids=ids)])[0][0])


def test_an_error_between_two_passes_reaches_whoever_waits(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise MemoryError("no room for a block")

    with Engine(model) as engine:
        monkeypatch.setattr(engine.prefixes, "fill", full)
        with pytest.raises(MemoryError, match="no room for a block"):
            engine.submit(Scores([1] * 50)).result(10)
        monkeypatch.undo()
        assert engine.submit(Scores([1] * 50)).result(10) is not None


def test_a_pass_that_fails_is_the_matter_of_its_cause(model: PreTrainedModel) -> None:
    with Engine(model) as engine:
        slowed = Slowed(engine)
        slowed.gate.clear()
        handles = [engine.submit(Scores(ids)) for ids in ((9,), (1, 1 << 20), (4, 5))]
        while len(engine._jobs) < 3:
            time.sleep(0.01)
        slowed.gate.set()
        with pytest.raises(IndexError):
            handles[1].result(60)
        torch.testing.assert_close(handles[2].result(60), plain(model, (4, 5)), rtol=1e-4, atol=1e-5)


def test_a_slow_request_holds_up_nobody(model: PreTrainedModel) -> None:
    release = threading.Event()

    def slow(work: Work) -> str:
        session = work.session()
        session.sync(PROMPT)
        assert release.wait(60)  # a tool that takes its time
        session.extend([1])
        return "slow"

    with Engine(model) as engine:
        handle = engine.submit(Asked(slow))
        assert len(engine.submit(FreeText((4, 5), 30)).result(60)) == 30
        release.set()
        assert handle.result(60) == "slow"


def test_an_error_of_one_of_each_cancels_the_others_and_is_raised(model: PreTrainedModel) -> None:
    def fail(work: Work) -> None:
        work.session().sync(PROMPT)
        raise ValueError("task 1")

    with Engine(model) as engine:
        with pytest.raises(ValueError, match="task 1"):
            [*engine.each([Asked(FreeText(PROMPT, 10**6).run), Asked(fail)], 2)]
        assert not engine._running or all(handle.done for handle in engine._running)


def test_a_full_context_is_the_matter_of_one(model: PreTrainedModel) -> None:
    def fill(work: Work) -> str:
        session = work.session()
        session.extend([1] * 500)
        with pytest.raises(ContextFullError, match="512"):
            session.extend([1] * 13)
        return "full"

    with Engine(model) as engine:
        full, text = engine.submit(Asked(fill)), engine.submit(FreeText(PROMPT, 5))
        assert full.result(60) == "full" and len(text.result(60)) == 5
        assert len(engine.submit(FreeText([1] * 510, 9)).result(60)) == 2


def test_closing_ends_everything(model: PreTrainedModel) -> None:
    engine = Engine(model)
    handles = [engine.submit(FreeText(PROMPT, 10**6)) for _ in range(3)]
    next(iter(handles[0]))
    engine.close()
    for handle in handles:
        with pytest.raises(CancelledError):
            handle.result(1)
    with pytest.raises(CancelledError, match="closed"):
        engine.submit(Scores(PROMPT))


def test_arguments_of_several_requests_are_written_as_alone_in_fewer_passes(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=24))

    def write(tool: str, passes: Passes) -> str:
        session = decoder.session(passes=passes)
        session.sync(checkpoint.protocol.prompt([{"role": "user", "content": f"use {tool}"}]))
        decoder.begin_call(session, tool)
        return decoder.arguments(session, tool).text

    with Engine(checkpoint.model) as engine:
        alone = [write(tool, engine) for tool in checkpoint.catalog.ids]
        one_by_one, engine.passes = engine.passes, 0
        requests = [Asked(lambda work, tool=tool: write(tool, work)) for tool in checkpoint.catalog.ids]  # type: ignore[misc]
        together = dict(engine.each(requests, 4))
        assert [together[place] for place in range(len(alone))] == alone
        assert engine.passes < one_by_one / 1.5


def test_what_a_task_draws_depends_on_the_seed_and_the_task_alone(checkpoint: Checkpoint) -> None:
    def draws(task: str, seed: int = 0) -> list[str]:
        decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=20, seed=seed)))
        session = decoder.session(task=task)
        session.sync(PROMPT)
        return [decoder.choose(session).tool for _ in range(20)]

    assert draws("a") == draws("a")
    assert draws("a") != draws("b") and draws("a") != draws("a", seed=1)


def test_what_it_cannot_run_is_refused(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Engine(model, pass_tokens=0)
    monkeypatch.setattr(type(model), "_supports_sdpa", False)
    with pytest.raises(CheckpointError, match="cannot run llama models"):
        Engine(model)


def test_stress(model: PreTrainedModel) -> None:
    """Searches, texts and cancelled requests for some seconds: every answer is that of the request alone, and nothing is
    left."""
    draw = random.Random(1)
    beginning = [draw.randrange(500) for _ in range(40)]
    prompts = [[*beginning[: 20 * (n % 3)], *(draw.randrange(500) for _ in range(1 + 7 * n))] for n in range(12)]
    runner = Runner(model)
    with Engine(model, pass_tokens=50, shared_tokens=13, prefix_mebibytes=0.2, concurrency=16) as engine:
        alone = [runner.run([Part(ids=prompt)])[0][0] for prompt in prompts]
        texts = [engine.submit(FreeText(prompt, 10)).result(60) for prompt in prompts]
        wrong: list[Any] = []

        def user(number: int) -> None:
            mine = random.Random(number)
            for _ in range(25):
                n, kind = mine.randrange(len(prompts)), mine.randrange(3)
                if kind == 0:
                    found = engine.submit(Scores(prompts[n]), priority=mine.randrange(3)).result(60)
                    if not torch.allclose(found, alone[n], rtol=1e-4, atol=1e-4):
                        wrong.append((n, found))
                elif kind == 1:
                    if (text := engine.submit(FreeText(prompts[n], 10)).result(60)) != texts[n]:
                        wrong.append((n, text))
                else:
                    handle = engine.submit(FreeText(prompts[n], 10**6), deadline=30)
                    if mine.randrange(2):
                        next(iter(handle), None)
                    handle.cancel()

        users = [threading.Thread(target=user, args=(number,)) for number in range(8)]
        for thread in users:
            thread.start()
        for thread in users:
            thread.join(60)
        assert not wrong
        until = time.monotonic() + 10
        while (engine._jobs or engine._running) and time.monotonic() < until:
            time.sleep(0.01)
        assert not engine._jobs and not engine._running and not engine._waiting
        assert engine.prefixes.size <= 0.2 * 2**20


def test_no_thread_is_left_when_the_interpreter_ends() -> None:
    script = """
import atexit, threading
atexit.register(lambda: print([one.name for one in threading.enumerate()]))
from toolgen.inference.engine import Engine
from toolgen.inference.passes import Part
from toolgen.testing import tiny_model
engine = Engine(tiny_model())
engine.run([Part(ids=[1, 2, 3])])
assert any(one.name == "toolgen-engine" for one in threading.enumerate())
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "['MainThread']\n" and not found.stderr
