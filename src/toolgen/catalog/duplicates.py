"""Tools that say nearly the same: a report for people, who decide what to do about them.

MinHash over pairs of neighbouring words, and locality-sensitive hashing to find who may be alike (Broder, "On the
resemblance and containment of documents", 1997; Leskovec et al., "Mining of Massive Datasets", chapter 3), both by
`datasketch`; every similarity that is reported is then counted exactly. Knows no file and no output format.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog, garbage_collection_paused
from toolgen.catalog.text import views
from toolgen.catalog.tool import Tool
from toolgen.errors import MissingExtraError, UsageError

PERMUTATIONS = 64
MIN_WORDS = 5  # `Deletes a user.` says too little to tell two tools apart or to call them the same
_MIXER = np.uint32(2_654_435_761)  # odd, so that two words in the other order are another pair
MAX_COMPARED = 50  # leaders that one tool is compared with; bounds the time where thousands are somewhat alike

Shingles = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class NearDuplicate:
    """A tool, and the share of its pairs of words that it has in common with the first of its group (Jaccard)."""

    tool: str
    similarity: float


@dataclass(frozen=True)
class DuplicateGroup:
    """A tool and those, later in the catalog, that say nearly the same."""

    tool: str
    duplicates: tuple[NearDuplicate, ...]


@dataclass(frozen=True)
class DuplicateReport:
    """Groups by falling size. `too_short` counts tools whose text is too short to be compared."""

    threshold: float
    groups: tuple[DuplicateGroup, ...]
    too_short: int

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self)


@garbage_collection_paused()
def near_duplicates(
    catalog: Catalog, threshold: float = 0.8, on_progress: Callable[[int, int], None] | None = None
) -> DuplicateReport:
    """Groups of tools whose texts (description and parameters, not the name) agree to at least `threshold`.

    Each tool is compared with the first tools of earlier groups, never with all members, so that neither time nor memory
    grows with the square of a group. Hashing overlooks a few pairs close to the threshold and reports none below it.
    """
    if not 0.3 <= threshold <= 1:
        raise UsageError(f"the threshold of near duplicates must be between 0.3 and 1, got {threshold}")
    leaders = _Leaders(threshold)
    members: dict[int, list[NearDuplicate]] = {}
    too_short = 0
    for position, tool in enumerate(catalog):
        shingles = _shingles(tool)
        if len(shingles):
            leader, similarity = leaders.nearest_or_new(position, shingles)
            if leader != position:
                members.setdefault(leader, []).append(NearDuplicate(tool.id, round(similarity, 4)))
        else:
            too_short += 1
        if on_progress:
            on_progress(position + 1, len(catalog))
    ids = catalog.ids
    groups = [DuplicateGroup(ids[leader], tuple(found)) for leader, found in members.items()]
    return DuplicateReport(threshold, tuple(sorted(groups, key=lambda group: -len(group.duplicates))), too_short)


class _Leaders:
    """The first tool of every group so far, found again by its signature or, where the text is equal, by its text."""

    def __init__(self, threshold: float) -> None:
        datasketch = _datasketch()
        self._threshold = threshold
        # Overlooking a pair is worse here than comparing one too many, for it is then compared exactly.
        self._lsh = datasketch.MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        self._empty = datasketch.MinHash(num_perm=PERMUTATIONS, hashfunc=_as_it_is)
        self._shingles: dict[int, Shingles] = {}
        self._equal: dict[bytes, tuple[int, float]] = {}

    def nearest_or_new(self, position: int, shingles: Shingles) -> tuple[int, float]:
        """The leader that is most alike and how much; the tool itself, as a new leader, if none is alike enough."""
        text = hashlib.sha256(shingles.tobytes()).digest()
        if text not in self._equal:
            self._equal[text] = self._find(position, shingles)
        return self._equal[text]

    def _find(self, position: int, shingles: Shingles) -> tuple[int, float]:
        signature = self._empty.copy()
        signature.update_batch(shingles.tolist())
        candidates = sorted(self._lsh.query(signature))[:MAX_COMPARED]
        alike = [(_jaccard(shingles, self._shingles[leader]), leader) for leader in candidates]
        similarity, leader = max(alike, key=lambda one: (one[0], -one[1]), default=(0.0, position))
        if similarity >= self._threshold:
            return leader, similarity
        self._lsh.insert(position, signature, check_duplication=False)
        self._shingles[position] = shingles
        return position, 1.0


def _shingles(tool: Tool) -> Shingles:
    """The pairs of neighbouring words in the tool's text, each as 32 bits, sorted; none for a short text."""
    seen = views(tool)
    words = f"{seen.get('description', '')} {seen.get('parameters', '')}".lower().split()
    if len(words) < MIN_WORDS:
        return np.zeros(0, dtype=np.uint32)
    codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint32)
    return np.unique(codes[:-1] * _MIXER + codes[1:])


def _as_it_is(shingle: int) -> int:
    return shingle


def _jaccard(first: Shingles, second: Shingles) -> float:
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def _datasketch() -> Any:
    try:
        import datasketch  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError("datasketch", "duplicates") from error
    return datasketch
