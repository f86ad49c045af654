"""What many callers get from one model: searches and agent tasks, 1, 4 and 16 at once, and the time of one token.

    python benchmarks/engine.py CKPT DATASET [--split test] [--searches 48] [--tasks 16] [--at-once 1 4 16] [--rounds 3]
                                [--bf16] [--before SRC] [--stress SECONDS] [-o RESULT.json]

Everything is measured in a process of its own, round after round; the best round counts. With `--before` the same is measured
with another version of toolgen, from its source folder SRC, in turns with this one, and compared. A search is one request, its
ten best tools. A task is one request: the model chooses a tool, writes its arguments under its grammar, gets a result and
goes on, two actions in all. `token_ms` is the time of a pass over one token behind a prompt. `same_first`, `same_ten`
(in order) and `same_calls` count what comes out as before; `same_together` counts the calls of the most
tasks at once that are those of one after another. With `--bf16` weights are in bf16, not fp32.

With `--stress` nothing is timed: searches, tasks and cancelled requests go through one engine for that long, and every answer
is compared with that of the request alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

TOKENS = 32
Messages = list[dict[str, Any]]


def carry_out(policy: Any, text: str) -> list[Any]:
    """The two actions of a task: names and arguments, and how many tokens they took."""
    from toolgen.datasets.messages import call_message, result_message, user_message

    messages: Messages = [user_message(text)]
    done: list[Any] = []
    for step in range(2):
        action = policy.act(messages)
        done.append([action.tool, dict(action.arguments), action.tokens])
        if action.stuck:
            break
        messages.append(call_message(action.tool, action.arguments, f"call_{step}", ""))
        messages.append(result_message(f"call_{step}", '{"status": "done"}', 1000))
    return done


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    made = work()
    return time.perf_counter() - started, made


def searched(retriever: Any, texts: Sequence[str], at_once: int) -> list[list[str]]:
    """The ten best tools of each request, asked by so many threads."""
    with ThreadPoolExecutor(at_once) as pool:
        return [list(found.tools) for found in pool.map(lambda text: retriever.search([text], 10)[0], texts)]


def tasks_together(policy: Any, texts: Sequence[str], at_once: int) -> list[Any]:
    """What each task did, so many at once."""
    from toolgen.inference.engine import Engine

    with Engine(policy.checkpoint.model) as engine:
        found = dict(engine.each([_Task(policy, text) for text in texts], at_once))
        return [found[place] for place in range(len(texts))]


class _Task:
    """The request to carry out a task."""

    def __init__(self, policy: Any, text: str) -> None:
        self._policy, self._text = policy, text

    def run(self, work: Any) -> list[Any]:
        from toolgen.datasets import Task

        return carry_out(self._policy.for_task(Task.from_text(self._text), work), self._text)


def measure(given: Mapping[str, Any]) -> dict[str, Any]:
    """One round, in this process."""
    import torch

    from toolgen.agent.policy import GenerativePolicy
    from toolgen.checkpoint import Checkpoint
    from toolgen.retrieval.generative import GenerativeRetriever

    checkpoint = Checkpoint.load(given["checkpoint"], dtype=torch.bfloat16 if given["bf16"] else None)
    retriever, policy = GenerativeRetriever(checkpoint), GenerativePolicy(checkpoint)
    retriever.search(given["searches"][:1], 10)
    carry_out(policy, given["tasks"][0])  # loads, packs and compiles what is loaded, packed and compiled once
    result: dict[str, Any] = {"searches_per_second": {}, "tasks_per_second": {}, "actions": {}}
    for at_once in given["at_once"]:
        seconds, result["rankings"] = timed(partial(searched, retriever, given["searches"], at_once))
        result["searches_per_second"][str(at_once)] = len(given["searches"]) / seconds
    for at_once in given["at_once"]:
        seconds, result["actions"][str(at_once)] = timed(partial(tasks_together, policy, given["tasks"], at_once))
        result["tasks_per_second"][str(at_once)] = len(given["tasks"]) / seconds
    session = policy.decoder.session()
    session.sync(checkpoint.protocol.prompt([{"role": "user", "content": given["tasks"][0]}]))
    seconds, _ = timed(lambda: [session.extend([token]) for token in range(100, 100 + TOKENS)])
    return {**result, "token_ms": 1000 * seconds / TOKENS}


def in_a_process(source: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """One round of the version in a source folder, or of this one."""
    environment = {**os.environ, **({} if source is None else {"PYTHONPATH": str(source)})}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(
        command, input=json.dumps(given), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def best(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best of some rounds."""
    kinds = ("searches_per_second", "tasks_per_second")
    speeds = {kind: {n: round(max(one[kind][n] for one in rounds), 3) for n in rounds[0][kind]} for kind in kinds}
    tasks = alone(rounds[0])
    return {
        **speeds,
        "token_ms": round(min(one["token_ms"] for one in rounds), 2),
        "tokens_a_task": sum(action[2] for task in tasks for action in task) / len(tasks),
    }


def alone(one: Mapping[str, Any]) -> list[Any]:
    """The actions of a round's tasks, the fewest at once."""
    return next(iter(one["actions"].values()))  # type: ignore[no-any-return]


def compared(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """How many rankings and calls of the last rounds are the same."""
    rankings = [*zip(now["rankings"], before["rankings"], strict=True)]
    calls = zip(alone(now), alone(before), strict=True)
    return {
        "same_first": sum(a[0] == b[0] for a, b in rankings),
        "same_ten": sum(a == b for a, b in rankings),
        "same_calls": sum(a == b for a, b in calls),
    }


def stress(given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Answers that came, and how many of them were not those of the request alone."""
    from toolgen.agent.policy import GenerativePolicy
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.engine import Engine
    from toolgen.inference.requests import FreeText
    from toolgen.retrieval.generative import GenerativeRetriever

    checkpoint = Checkpoint.load(given["checkpoint"])
    policy, searches, tasks = GenerativePolicy(checkpoint), given["searches"][:12], given["tasks"][:6]
    counts = {"searches": 0, "tasks": 0, "cancelled": 0, "different": 0}
    with Engine(checkpoint.model) as engine:
        retriever = GenerativeRetriever(checkpoint, engine=engine)
        rankings = searched(retriever, searches, 1)
        actions = [engine.submit(_Task(policy, text)).result() for text in tasks]
        until, lock = time.monotonic() + seconds, threading.Lock()

        def user(number: int) -> None:
            draw = random.Random(number)
            while time.monotonic() < until:
                kind = draw.choice(("searches", "tasks", "cancelled"))
                same = True
                if kind == "searches":
                    place = draw.randrange(len(searches))
                    same = list(retriever.search([searches[place]], 10)[0].tools) == rankings[place]
                elif kind == "tasks":
                    place = draw.randrange(len(tasks))
                    same = engine.submit(_Task(policy, tasks[place])).result() == actions[place]
                else:
                    handle = engine.submit(
                        FreeText(checkpoint.protocol.prompt([{"role": "user", "content": "go on"}]), 500)
                    )
                    next(iter(handle), None)
                    handle.cancel()
                with lock:
                    counts[kind] += 1
                    counts["different"] += not same

        users = [threading.Thread(target=user, args=(number,)) for number in range(8)]
        for each in (*users,):
            each.start()
        for each in users:
            each.join()
        left = time.monotonic() + 30
        while (engine._jobs or engine._running) and time.monotonic() < left:
            time.sleep(0.05)
        counts["left_over"] = len(engine._jobs) + len(engine._running)
        kept = engine.prefixes.size
    threads = sum(thread.name.startswith("toolgen") for thread in threading.enumerate())
    return {**counts, "threads_left": threads, "prefix_mebibytes": round(kept / 2**20, 1)}


def main() -> None:
    if sys.argv[1:] == ["--measure"]:
        print(json.dumps(measure(json.load(sys.stdin))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--searches", type=int, default=48)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--before", type=Path, metavar="SRC")
    parser.add_argument("--stress", type=float, metavar="SECONDS")
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    from toolgen.evaluation.provenance import hardware
    from toolgen.files import write_json

    with (options.dataset / f"queries.{options.split}.jsonl").open(encoding="utf-8") as lines:
        texts = [record["text"] for record in map(json.loads, lines) if record.get("tools") and record.get("text")]
    given = {
        "checkpoint": str(options.checkpoint.resolve()),
        "searches": texts[: options.searches],
        "tasks": texts[: options.tasks],
        "at_once": options.at_once,
        "bf16": options.bf16,
    }
    if options.stress:
        result: dict[str, Any] = {
            "benchmark": "engine, stress",
            "seconds": options.stress,
            **stress(given, options.stress),
        }
    else:
        sources = {"now": None, **({"before": options.before.resolve()} if options.before else {})}
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in sources}
        for _ in range(options.rounds):
            for name, source in sources.items():
                rounds[name].append(in_a_process(source, given))
        last = rounds["now"][-1]
        together = last["actions"][str(options.at_once[-1])]
        result = {
            "benchmark": "engine",
            "searches": len(given["searches"]),
            "tasks": len(given["tasks"]),
            **{name: best(found) for name, found in rounds.items()},
            "same_together": sum(a == b for a, b in zip(alone(last), together, strict=True)),
        }
        if options.before:
            result |= compared(last, rounds["before"][-1])
    result["hardware"] = hardware()
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
