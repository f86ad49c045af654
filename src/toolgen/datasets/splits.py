"""Deterministic splits by hash: a group of records lands in the same split on every machine and in every order."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from toolgen.datasets.query import Query

Split = Literal["train", "dev", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
TRAIN_SHARE, DEV_SHARE = 0.7, 0.1  # the rest is test
UNASKED_SHARE = 0.1  # of the tools: no training request asks for them
DEVELOPMENT_TENTH = 0.1  # of the training requests of a source that publishes no development split
UNASKED_DEV_SHARE = 1 / 3  # of the training groups that ask for such tools; the rest goes to test


def hash_fraction(text: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on nothing but the text and the salt."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_of(group: str) -> str:
    """The split of a leakage group: train 70, dev 10, test 20 of a hundred."""
    fraction = hash_fraction(group, "split")
    if fraction < TRAIN_SHARE:
        return "train"
    return "dev" if fraction < TRAIN_SHARE + DEV_SHARE else "test"


def split_outside_training(group: str) -> str:
    """The split of a group that must not be trained on: its own if that is dev or test, else dev or test as 1 to 2."""
    own = split_of(group)
    if own != "train":
        return own
    return "dev" if hash_fraction(group, "outside training") < UNASKED_DEV_SHARE else "test"


def in_development_tenth(group: str) -> bool:
    """Whether a training group is used for development where the publisher has no split for it."""
    return hash_fraction(group, "development") < DEVELOPMENT_TENTH


def is_kept_unasked(tool_id: str) -> bool:
    """Whether the tool belongs to the tenth that no training request may ask for."""
    return hash_fraction(tool_id, "held out") < UNASKED_SHARE  # another salt would give other splits


def text_group(text: str) -> str:
    """The leakage group of a request: its words without case, punctuation and spacing."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or text


def split_queries(queries: Iterable[Query], group_of: Callable[[Query], str]) -> dict[str, tuple[Query, ...]]:
    """Queries of one leakage group stay together; a group that asks for a tool kept unasked stays out of training."""
    grouped = [(group_of(query), query) for query in queries]
    outside = {group for group, query in grouped if any(map(is_kept_unasked, query.tools))}
    splits: dict[str, list[Query]] = {split: [] for split in SPLITS}
    for group, query in grouped:
        splits[split_outside_training(group) if group in outside else split_of(group)].append(query)
    return {split: tuple(found) for split, found in splits.items()}
