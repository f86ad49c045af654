"""`toolgen serve` under load: many clients at once, memory, and what HTTP adds to the model's own time.

    python benchmarks/serving.py CKPT [--clients 64] [--seconds 300] [--requests 40] [--breaks 1000] [-o RESULT.json]
    python benchmarks/serving.py CKPT --alone [-o RESULT.json]

The server is a process of its own. In turns:

    alone        one client. `search` is POST /v1/tools/search, against `bare`: a pass of the same engine over the same prompt,
                 in this process. `first_byte` of a streamed chat, and `first_piece`, the first that tells the tool, against
                 `first_token`, when this process' own policy has chosen the tool.
    load         `--clients` at once for `--seconds`: of ten requests six are searches, two whole chats, two streamed. A 429 is
                 waited for as it asks; every other status but 200 is an error. `memory_mib` is the server's meanwhile: in the
                 first third the cache of beginnings fills.
    searches     as many clients that only search, for a tenth of the time, against `batch`: what one caller in this process
                 waits for as many searches at once.
    poisoned     the same beside one that sends what is broken or hostile; `errors` are those of the others.
    broken_off   `--breaks` clients break off in the middle of a chat: `load_after` are the conversations still running
                 `settled_seconds` later, when none should.
    terminated   SIGTERM while half as many chats are on their way: how many were answered, and how the server ended.

No two requests begin alike, so that none is answered from what another has left in the cache of beginnings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from toolgen.agent import GenerativePolicy
from toolgen.checkpoint import Checkpoint
from toolgen.decoding import DecodingOptions
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.inference.engine import Engine, Work
from toolgen.inference.passes import Part
from toolgen.retrieval.generative import GenerativeRetriever

SEARCH, CHAT = "/v1/tools/search", "/v1/chat/completions"
TOKENS = 48
"""What a chat may write."""
KINDS = ("search", "search", "search", "whole", "search", "streamed", "search", "search", "whole", "streamed")
HOSTILE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}, "b": {"$ref": "#"}}}
SETTLED = 0.5
"""Seconds after which a server has ended what a client broke off."""
_NUMBERS = count(1)


def poison() -> list[tuple[str, str]]:
    """Paths and bodies of requests that are broken or hostile."""
    message, long = {"role": "user", "content": "a" * 40 + "!"}, " ".join(["storm"] * 170_000)
    tool = {"type": "function", "function": {"name": "mine", "description": "Mine", "parameters": HOSTILE}}
    return [
        (SEARCH, '{"query": NaN}'),
        (CHAT, '{"messages": [{"role": "user", "content": "x"}], "temperature": NaN, "max_tokens": 4}'),
        (SEARCH, json.dumps({"query": long})),
        (CHAT, json.dumps({"messages": [{"role": "user", "content": long}], "max_tokens": 4})),
        (CHAT, json.dumps({"messages": [message], "tools": [tool], "max_tokens": 16})),
        (CHAT, "[" * 100_000 + "]" * 100_000),
    ]


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that is ready, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "toolgen", "serve", str(folder), "--retriever", "generative", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 600
        while not is_ready(url):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"no server; see why: {' '.join(command)}")
            time.sleep(0.2)
        await_idle(process.pid)
        yield process, url
    finally:
        process.kill()
        process.wait(60)


def is_ready(url: str) -> bool:
    """Whether it answers."""
    with suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/ready", timeout=5).status_code == 200
    return False


def body(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Path and body of a request that begins as no other does."""
    text = f"{next(_NUMBERS)}: {text}"
    if kind == "search":
        return SEARCH, {"query": text, "limit": 10}
    message = {"role": "user", "content": text}
    return CHAT, {"messages": [message], "max_tokens": TOKENS, "stream": kind == "streamed"}


def requests_of(checkpoint: Checkpoint, count: int) -> list[str]:
    """Evenly chosen descriptions stand for requests."""
    tools = [tool for tool in checkpoint.catalog if tool.description]
    return [" ".join(tool.description.split())[:200] for tool in tools[:: max(1, len(tools) // count)][:count]]


# --- one client --------------------------------------------------------------------------------------------------------


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


class First:
    """A step that is over once its tool is chosen."""

    def __init__(self, policy: GenerativePolicy, text: str) -> None:
        self._policy, self._text = policy, text

    def run(self, work: Work) -> float:
        started, chosen = time.perf_counter(), []

        def heard(_place: int, _tool: str, _arguments: str) -> bool:
            chosen.append(time.perf_counter())
            return True

        policy = self._policy.conversation(work, DecodingOptions())
        policy.act([{"role": "user", "content": self._text}], None, tokens=TOKENS, on_text=heard, verbatim=True)
        return 1000 * (chosen[0] - started) if chosen else float("nan")


def stream_times(client: httpx2.Client, url: str, text: str) -> tuple[float, float]:
    """Milliseconds to the first byte of a streamed chat, and to the first piece with a tool or an answer."""
    path, given = body("streamed", text)
    started, first = time.perf_counter(), 0.0
    with client.stream("POST", url + path, json=given) as answer:
        for line in answer.iter_lines():
            now = 1000 * (time.perf_counter() - started)
            first = first or now
            if '"tool_calls":' in line or '"content": "' in line:
                return first, now
    return first, now


def alone(checkpoint: Checkpoint, url: str, texts: Sequence[str]) -> dict[str, Any]:
    """Medians of one client's times, in turns with the model's own."""
    times: dict[str, list[float]] = {}
    with Engine(checkpoint.model, prefix_mebibytes=0) as engine, httpx2.Client(timeout=600) as client:
        policy = GenerativePolicy(checkpoint)

        def bare(text: str) -> None:
            engine.run([Part(ids=checkpoint.protocol.prompt([{"role": "user", "content": text}]), rows=None)])

        for place, text in enumerate([texts[0], *texts]):  # the first is to warm up
            path, given = body("search", text)
            time.sleep(SETTLED)  # the pass that the stream before has left ends first
            found = {
                "bare": timed(lambda text=given["query"]: bare(text)),
                "search": timed(lambda path=path, given=given: client.post(url + path, json=given).raise_for_status()),
            }
            found["first_token"] = engine.submit(First(policy, f"{next(_NUMBERS)}: {text}")).result()
            found["first_byte"], found["first_piece"] = stream_times(client, url, text)
            for name, value in found.items() if place else ():
                times.setdefault(name, []).append(value)
    median = {name: round(statistics.median(values), 2) for name, values in times.items()}
    over = {
        "search_over_bare": round(median["search"] / median["bare"], 3),
        "first_byte_over_first_token": round(median["first_byte"] / median["first_token"], 3),
        "first_piece_over_first_token": round(median["first_piece"] / median["first_token"], 3),
    }
    return {"milliseconds": median, **over}


# --- many --------------------------------------------------------------------------------------------------------------


class Seen:
    """What clients have seen: how long each kind of request took, and how often which status came."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.statuses: Counter[str] = Counter()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "statuses": dict(self.statuses),
            "errors": sum(count for status, count in self.statuses.items() if status not in ("200", "429")),
            "milliseconds": {kind: percentiles(values) for kind, values in sorted(self.seconds.items())},
        }


async def client_of(
    number: int, url: str, texts: Sequence[str], until: float, seen: Seen, kinds: Sequence[str] = KINDS
) -> None:
    """One client: a request after another."""
    async with httpx2.AsyncClient(timeout=600) as client:
        turn = number
        while time.monotonic() < until:
            kind, text = kinds[turn % len(kinds)], texts[(7 * turn + number) % len(texts)]
            path, given = body(kind, text)
            started = time.perf_counter()
            try:
                answer = await client.post(url + path, json=given)
            except httpx2.TransportError as error:
                seen.statuses[type(error).__name__] += 1
                continue
            seen.statuses[str(answer.status_code)] += 1
            if answer.status_code == 429:
                await asyncio.sleep(float(answer.headers["retry-after"]))
                continue
            if kind == "streamed" and not answer.text.endswith("data: [DONE]\n\n"):
                seen.statuses["a stream that was cut"] += 1
            seen.seconds.setdefault(kind, []).append(time.perf_counter() - started)
            turn += 1


def await_idle(pid: int) -> None:
    """Waits until a process does nothing: a server that has begun reads documentation in the background."""
    before, now = -1.0, processor_seconds(pid)
    while now - before > 0.05:
        time.sleep(2)
        before, now = now, processor_seconds(pid)


def processor_seconds(pid: int) -> float:
    """What a process has taken so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def load(pid: int, url: str, texts: Sequence[str], clients: int, seconds: float) -> dict[str, Any]:
    """What many clients see, and what the server needs."""
    seen, started, memory = Seen(), time.monotonic(), [memory_mib(pid)]

    async def watch() -> None:
        while True:
            await asyncio.sleep(seconds / 60)
            memory.append(memory_mib(pid))

    watching = asyncio.create_task(watch())
    until = started + seconds
    await asyncio.gather(*(client_of(number, url, texts, until, seen) for number in range(clients)))
    watching.cancel()
    third = max(1, len(memory) // 3)
    thirds = {"first_third": memory[:third], "second_third": memory[third:-third], "last_third": memory[-third:]}
    return {
        "clients": clients,
        "seconds": round(time.monotonic() - started, 1),
        **seen.to_dict(),
        "memory_mib": {
            "before": round(memory[0]),
            **{part: round(statistics.median(values or memory)) for part, values in thirds.items()},
            "most": round(max(memory)),
        },
    }


async def searches(
    url: str, texts: Sequence[str], clients: int, seconds: float, poisons: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """What many clients see that only search, and what comes of `poisons`, which one client sends meanwhile, over and over."""
    seen, until = Seen(), time.monotonic() + seconds
    answers: Counter[str] = Counter()

    async def poisoner() -> None:
        async with httpx2.AsyncClient(timeout=600, headers={"Content-Type": "application/json"}) as client:
            while poisons and time.monotonic() < until:
                for path, content in poisons:
                    answers[str((await client.post(url + path, content=content)).status_code)] += 1

    others = (client_of(number, url, texts, until, seen, ("search",)) for number in range(clients))
    await asyncio.gather(poisoner(), *others)
    return {**seen.to_dict(), **({"poisoned_statuses": dict(answers)} if poisons else {})}


def batch_ms(checkpoint: Checkpoint, texts: Sequence[str], size: int) -> float:
    """Milliseconds of so many searches of one caller at once, the median of five."""
    with Engine(checkpoint.model) as engine:
        retriever = GenerativeRetriever(checkpoint, engine=engine)
        retriever.index(checkpoint.catalog)

        def search() -> None:
            retriever.search([body("search", texts[one % len(texts)])[1]["query"] for one in range(size)], 10)

        search()
        return round(statistics.median(timed(search) for _ in range(5)), 1)


def percentiles(seconds: Sequence[float]) -> Mapping[str, float]:
    """How many, and 50, 95 and 99 of a hundred in milliseconds."""
    ordered = sorted(seconds)
    place = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in SHARES.items()}
    return {"count": len(ordered), **{name: round(1000 * value, 1) for name, value in place.items()}}


SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def break_off(url: str, texts: Sequence[str], count: int) -> dict[str, Any]:
    """Clients that send a chat and reset the connection; the conversations that still run afterwards."""
    place = httpx2.URL(url)
    for number in range(count):
        path, given = body(("whole", "streamed")[number % 2], texts[number % len(texts)])
        data = json.dumps(given).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc.decode()}\r\nContent-Length: {len(data)}\r\n"
        with socket.create_connection((place.host, place.port or 80), 30) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
            time.sleep((0, 0.01, 0.1)[number % 3])
    started, left = time.monotonic(), 1
    while left and time.monotonic() < started + 60:
        time.sleep(0.1)
        left = httpx2.get(f"{url}/ready", timeout=60).json()["load"]
    return {"breaks": count, "load_after": left, "settled_seconds": round(time.monotonic() - started, 1)}


async def terminated(process: subprocess.Popen[bytes], url: str, texts: Sequence[str], count: int) -> dict[str, Any]:
    """SIGTERM while chats are on their way."""

    async def ask(client: httpx2.AsyncClient, number: int) -> str:
        path, given = body(("whole", "streamed")[number % 2], texts[number % len(texts)])
        try:
            answer = await client.post(url + path, json=given)
        except httpx2.TransportError as error:
            return type(error).__name__
        is_whole = answer.text.endswith("data: [DONE]\n\n") if given["stream"] else "usage" in answer.json()
        return str(answer.status_code) if is_whole else "cut"

    async with httpx2.AsyncClient(timeout=600, limits=httpx2.Limits(max_connections=None)) as client:
        asked = [asyncio.create_task(ask(client, number)) for number in range(count)]
        until = time.monotonic() + 60
        while (await client.get(f"{url}/ready")).json()["load"] < count and time.monotonic() < until:
            if any(one.done() for one in asked):  # all that are left have been accepted by now
                break
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        answers = Counter(await asyncio.gather(*asked))
    code = process.wait(120)
    return {
        "accepted": count,
        "answers": dict(answers),
        "exit_code": code,
        "ended_seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--breaks", type=int, default=1000)
    parser.add_argument("--alone", action="store_true", help="one client only")
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    checkpoint = Checkpoint.load(options.checkpoint)
    texts, clients, short = requests_of(checkpoint, options.requests), options.clients, options.seconds / 10
    result: dict[str, Any] = {
        "benchmark": "serving",
        "hardware": hardware(),
        "checkpoint": options.checkpoint.name,
        "tools": len(checkpoint.catalog),
    }
    with server(options.checkpoint) as (process, url):
        result["alone"] = alone(checkpoint, url, texts)
        if not options.alone:
            batch = batch_ms(checkpoint, texts, clients)
            result["load"] = asyncio.run(load(process.pid, url, texts, clients, options.seconds))
            found = asyncio.run(searches(url, texts, clients, short))
            over = round(found["milliseconds"]["search"]["p95"] / batch, 3)
            result["searches"] = {**found, "batch_ms": batch, "p95_over_batch": over}
            result["poisoned"] = asyncio.run(searches(url, texts, clients, short, poison()))
            result["broken_off"] = break_off(url, texts, options.breaks)
            result["memory_mib_after"] = round(memory_mib(process.pid))
            result["terminated"] = asyncio.run(terminated(process, url, texts, clients // 2))
    print(json.dumps(result, indent=1))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
