"""Calls carried out: those of one step at the same time, each within its time, whatever the environment does.

An environment may hang, raise or flood; what comes out is a result for each call. Knows no policy.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from toolgen.agent.environments.protocol import Environment, ToolResult, error_text, failed, no_answer
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.effects import only_reads
from toolgen.catalog.python.calls import error_text as described
from toolgen.datasets.query import Call
from toolgen.errors import ToolgenError

Confirm = Callable[[Call], bool]
"""Whether a call may be carried out."""

GRACE = 5.0
"""Seconds after its time in which an environment may still end what it has started."""
_POLL = 0.05

_Ended = tuple[int, ToolResult | ToolgenError]


def carry_out(
    environment: Environment, calls: Sequence[Call], within: float, cancel: threading.Event
) -> Iterator[tuple[int, ToolResult]]:
    """The results of calls that do not depend on each other, each with the place of its call, as they come. One that takes
    longer than `within` seconds, or is under way when `cancel` is set, has the status "timeout" and is left to itself; none
    begins when it is set already."""
    if cancel.is_set():
        yield from enumerate([refused("the run was ended before this call")] * len(calls))
        return
    ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
    for place, call in enumerate(calls):
        work = (environment, call, within, place, ended)
        threading.Thread(target=_execute, args=work, daemon=True, name=f"call of {call.tool}").start()
    missing = set(range(len(calls)))
    deadline = time.monotonic() + within + GRACE
    while missing and not cancel.is_set() and time.monotonic() < deadline:
        try:
            place, result = ended.get(timeout=_POLL)
        except queue.Empty:
            continue
        if isinstance(result, ToolgenError):
            raise result
        missing.remove(place)
        yield place, result
    yield from ((place, interrupted() if cancel.is_set() else no_answer(within)) for place in sorted(missing))


def refused(why: str = "the user did not agree to this call") -> ToolResult:
    """The result of a call that was not made."""
    return ToolResult(content=error_text(f"{why}; it was not made"), status="refused")


def interrupted() -> ToolResult:
    """The result of a call during which the run was ended."""
    note = "the run was ended during this call; whether it took effect is unknown"
    return ToolResult(content=error_text(note), status="timeout")


def asking_before_changes(catalog: Catalog, ask: Confirm) -> Confirm:
    """Asks before the calls of tools that do not say that they only read."""

    def confirm(call: Call) -> bool:
        return (call.tool in catalog and only_reads(catalog.get(call.tool))) or ask(call)

    return confirm


def _execute(environment: Environment, call: Call, within: float, place: int, ended: queue.SimpleQueue[_Ended]) -> None:
    """In a thread of its own, which has nobody to raise anything to."""
    try:
        ended.put((place, environment.call(call.tool, call.arguments, within=within)))
    except ToolgenError as error:  # of the environment itself
        ended.put((place, error))
    except BaseException as error:
        text = f"the call of {call.tool} failed: {described(error)}"
        ended.put((place, failed(text)))
