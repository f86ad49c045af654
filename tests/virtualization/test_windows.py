"""What is shown of a long conversation."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from toolgen.virtualization.windows import Window, windows

TURN = ["user", "assistant", "tool", "assistant"]


def test_what_fits_is_shown_whole() -> None:
    roles = ["system", *TURN, *TURN]
    assert list(windows(roles, [1] * 9, 9)) == [Window(tuple(range(9)), 1)]
    assert list(windows(["system"], [5], 1)) == [Window((0,), 0)]


def test_a_window_begins_with_the_first_turn_from_which_half_the_budget_is_enough() -> None:
    roles = ["system", *TURN, *TURN, *TURN]
    found = list(windows(roles, [1, *[2] * 12], 20))
    assert found == [Window(tuple(range(10)), 1), Window((0, *range(9, 13)), 10)]


def test_of_a_turn_that_is_too_long_the_users_words_stay_and_older_calls_go() -> None:
    roles = ["user", *["assistant", "tool"] * 5, "assistant"]
    found = list(windows(roles, [2] * 12, 12))
    assert found[0] == Window((0, 1, 2, 3, 4), 0)
    assert all(one.shown[0] == 0 for one in found)
    assert found[-1].shown[-1] == 11


@given(
    st.lists(st.sampled_from(["user", "assistant", "tool", "system"]), max_size=30),
    st.lists(st.integers(1, 9), min_size=30, max_size=30),
    st.integers(1, 60),
)
def test_each_message_is_new_in_one_window_and_a_window_is_whole_from_some_message_on(
    roles: list[str], lengths: list[int], budget: int
) -> None:
    found = list(windows(roles, lengths[: len(roles)], budget))
    first = next((place for place, role in enumerate(roles) if role == "user"), len(roles))
    seen = [place for one in found for place in one.shown if place >= one.new]
    assert seen == list(range(found[0].new, len(roles)))
    for one in found:
        assert list(one.shown) == sorted(set(one.shown)) and one.shown[:first] == tuple(range(first))
        rest = [place for place in one.shown if place >= first]
        if rest:
            assert roles[rest[0]] == "user"
            gaps = sum(after - before > 1 for before, after in pairwise(rest))
            assert gaps <= 1, "only the words of the user stand before a gap"
    assert found[-1].shown[-1:] == (len(roles) - 1,) * bool(roles)
