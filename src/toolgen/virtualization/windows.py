"""What of a long conversation is shown: its newest turns, cut where a user speaks, so that training and runs see the same.

Knows lengths of messages, neither text nor tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Window:
    """The places of the messages that are shown, in order; those from `new` on were in no window before."""

    shown: tuple[int, ...]
    new: int


@dataclass(frozen=True)
class _Unit:
    """Messages that stay together: what a user says, or a message of the assistant with all that follows up to the next."""

    start: int
    stop: int
    is_user: bool


def windows(roles: Sequence[str], lengths: Sequence[int], budget: int) -> Iterator[Window]:
    """The windows of a conversation as it grows, at least one; the last one is what is shown of the whole.

    A window holds what precedes the first words of a user, then all from some place on. When it no longer fits the budget, the
    next one begins with the first turn of a user from which half the budget is enough, else with the current turn. Of a turn
    that is too long for itself the user's words stay and its older calls go. What is longer than the budget even so
    is a window all the same.
    """
    units = _units(roles)
    if not units:
        yield Window(tuple(range(len(roles))), 0)
        return
    sums = [0, *accumulate(lengths)]
    turn_of: list[int] = []
    for place, unit in enumerate(units):
        turn_of.append(place if unit.is_user else turn_of[-1])

    def size(begin: int, end: int) -> int:
        said = units[turn_of[begin]]
        own = 0 if units[begin].is_user else sums[said.stop] - sums[said.start]
        return sums[units[0].start] + own + sums[units[end].stop] - sums[units[begin].start]

    def shown(begin: int, end: int) -> tuple[int, ...]:
        said = units[turn_of[begin]]
        own = range(0) if units[begin].is_user else range(said.start, said.stop)
        return (*range(units[0].start), *own, *range(units[begin].start, units[end].stop))

    begin = new = 0
    for place in range(1, len(units)):
        if size(begin, place) <= budget:
            continue
        yield Window(shown(begin, place - 1), units[new].start)
        turn, new = turn_of[place], place
        turns = [one for one in range(begin + 1, place + 1) if units[one].is_user and size(one, place) <= budget // 2]
        calls = [one for one in range(turn + 1, place) if size(one, place) <= budget // 2]
        if turns:
            begin = turns[0]
        elif size(turn, place) <= budget:
            begin = turn
        else:
            begin = calls[0] if calls else place
    yield Window(shown(begin, len(units) - 1), units[new].start)


def _units(roles: Sequence[str]) -> list[_Unit]:
    first = next((place for place, role in enumerate(roles) if role == "user"), len(roles))
    starts = [place for place in range(first, len(roles)) if roles[place] in ("user", "assistant")]
    stops = [*starts[1:], len(roles)][: len(starts)]
    return [_Unit(start, stop, roles[start] == "user") for start, stop in zip(starts, stops, strict=True)]
