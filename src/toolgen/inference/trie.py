"""Trie: sequences of integers in, allowed next integers out. Knows no tokenizer, tensor or tool.

All of it is three flat arrays (compressed sparse rows): 47,000 sequences take some megabytes and no Python object a node.
Nodes are numbered level by level from the root, 0, and the children of a node stand one after another, by rising token.
Shapes: N sequences, L their greatest length, M nodes, B given nodes, E their children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from toolgen.errors import UsageError

Ints = npt.NDArray[np.int64]

ROOT = 0


@dataclass(frozen=True, eq=False)
class Trie:
    """`tokens_M[m]` leads to node m (-1 at the root). Its children are the nodes from `starts[m]` up to `starts[m + 1]`.
    `rows_M[m]` is the place of the only sequence through m, -1 where there are several."""

    tokens_M: Ints
    starts: Ints
    rows_M: Ints

    @classmethod
    def build(cls, sequences: Sequence[Sequence[int]]) -> Trie:
        """UsageError unless there is a sequence and none is the beginning of another (or empty, or the same)."""
        lengths_N = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        if not len(lengths_N) or not lengths_N.all():
            raise UsageError("a trie needs at least one sequence, and each needs at least one token")
        padded_NL = np.full((len(lengths_N), lengths_N.max()), -1, dtype=np.int64)
        padded_NL[np.arange(padded_NL.shape[1]) < lengths_N[:, None]] = np.fromiter(
            chain.from_iterable(sequences), dtype=np.int64, count=int(lengths_N.sum())
        )
        order_N = np.lexsort(padded_NL.T[::-1])
        padded_NL, lengths_N = padded_NL[order_N], lengths_N[order_N]
        node_N = np.zeros(len(lengths_N), dtype=np.int64)  # that each sequence has reached
        tokens, parents, rows = [np.array([-1])], [], [np.array([order_N[0] if len(order_N) == 1 else -1])]
        count = 1
        for place in range(padded_NL.shape[1]):
            running = np.flatnonzero(lengths_N > place)
            parent, token = node_N[running], padded_NL[running, place]
            # Sequences with the same beginning are neighbours.
            first = np.flatnonzero(np.append(True, (np.diff(parent) != 0) | (np.diff(token) != 0)))
            shared = np.diff(np.append(first, len(running))) > 1
            if (shared & (lengths_N[running[first]] == place + 1)).any():
                raise UsageError("two sequences of a trie are the same, or one is the beginning of the other")
            tokens.append(token[first])
            parents.append(parent[first])
            rows.append(np.where(shared, -1, order_N[running[first]]))
            node_N[running] = count + np.repeat(np.arange(len(first)), np.diff(np.append(first, len(running))))
            count += len(first)
        children_M = np.bincount(np.concatenate(parents), minlength=count)
        return cls(np.concatenate(tokens), np.append(1, 1 + np.cumsum(children_M)), np.concatenate(rows))

    def __len__(self) -> int:
        """The number of nodes."""
        return len(self.tokens_M)

    def children(self, node: int) -> slice:
        """The children of one node, to be taken from any of the arrays."""
        return slice(int(self.starts[node]), int(self.starts[node + 1]))

    def child(self, node: int, token: int) -> int | None:
        """The node that a token leads to; None if it is not allowed there."""
        allowed = self.tokens_M[self.children(node)]
        place = int(np.searchsorted(allowed, token))
        found = place < len(allowed) and int(allowed[place]) == token
        return int(self.starts[node]) + place if found else None

    def children_of_all(self, nodes_B: Ints) -> tuple[Ints, Ints]:
        """For each child (E) of the given nodes, all together: which of them it belongs to, and the child."""
        starts_B, counts_B = self.starts[nodes_B], self.starts[nodes_B + 1] - self.starts[nodes_B]
        owners_E = np.repeat(np.arange(len(nodes_B)), counts_B)
        offsets_E = np.arange(len(owners_E)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
        return owners_E, starts_B[owners_E] + offsets_E

    def forced(self) -> tuple[int, list[int]]:
        """The first node with a choice (or with one sequence only), and the tokens that lead there: every sequence begins with
        them."""
        node, tokens = ROOT, []
        while self.rows_M[node] < 0 and self.starts[node + 1] - self.starts[node] == 1:
            node = int(self.starts[node])
            tokens.append(int(self.tokens_M[node]))
        return node, tokens
