"""Tools that a request brings along: each has one of the checkpoint's spare tokens for as long as it is in use, with the row
that its documentation makes. Knows no wire format."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from toolgen.agent import GenerativePolicy
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.changes import check_new, seen_with, with_spare_tokens, write_new_rows
from toolgen.inference.late_tools import LateRows
from toolgen.serving.errors import BusyError, FormatError
from toolgen.virtualization.tokenizer import is_spare

ROOM = 512
"""Tools of requests that a server has room for."""
POLICIES = 16
"""Sets of tools whose grammars stay compiled."""


def with_room(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with room for tools of requests; as it is where tools are several tokens. The model is changed in place:
    go on with what is returned."""
    return with_spare_tokens(checkpoint, ROOM) if checkpoint.vocabulary.is_atomic else checkpoint


@dataclass
class _Lent:
    """A spare token that a tool has, and how many requests use it now."""

    token: str
    users: int = 0


class RequestTools:
    """Lends the spare tokens of a checkpoint to tools. A tool that comes again has its token still, unless others needed it;
    its row then costs nothing. The model's other rows stay as they are, and the tool is what `with_tools` would make of it."""

    def __init__(self, policy: GenerativePolicy) -> None:
        self._policy, self._checkpoint = policy, policy.checkpoint
        vocabulary = self._checkpoint.vocabulary
        self._free = [token for token in vocabulary.free_tokens if is_spare(token)]
        self._ids = dict(zip(vocabulary.all_tokens, vocabulary.action_token_ids, strict=True))
        self.room = len(self._free)
        """How many tools can be in use at once."""
        # By what the tool is; the one that was in use last stands last.
        self._lent: OrderedDict[str, _Lent] = OrderedDict()
        self._policies: OrderedDict[tuple[tuple[str, str], ...], GenerativePolicy] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, tools: Sequence[Tool]) -> None:
        """FormatError for more tools than there is room for. CatalogError for a broken schema, UsageError where tools are
        several tokens."""
        check_new(self._checkpoint, tools)
        if len(tools) > self.room:
            raise FormatError(
                f"the request brings {len(tools)} tools of its own; this server has room for {self.room}", "tools"
            )

    @contextmanager
    def lent(self, tools: Sequence[Tool]) -> Iterator[GenerativePolicy]:
        """The policy of the model with these tools, as long as the context lasts. BusyError where other requests have the
        tokens."""
        if not tools:
            yield self._policy
            return
        with self._lock:
            lent = self._taken(tools)
        try:
            with self._lock:
                policy = self._policy_of(tools, [one.token for one in lent])
            yield policy
        finally:
            with self._lock:
                for one in lent:
                    one.users -= 1

    def _taken(self, tools: Sequence[Tool]) -> list[_Lent]:
        """The tokens of tools, which are theirs from now on; those that are new get rows."""
        kinds = [tool.content_hash for tool in tools]
        new = [tool for tool in tools if tool.content_hash not in self._lent]
        idle = [kind for kind, one in self._lent.items() if not one.users and kind not in kinds]
        missing = len(new) - len(self._free)
        if missing > len(idle):
            raise BusyError("the tools of other requests take all the room; try again in a second")
        for kind in idle[: max(0, missing)]:
            self._free.append(self._lent.pop(kind).token)
        if new:
            rows = self._rows.of(new)
            tokens = [self._free.pop() for _ in new]
            write_new_rows(self._checkpoint, [self._ids[token] for token in tokens], rows)
            self._lent.update((tool.content_hash, _Lent(token)) for tool, token in zip(new, tokens, strict=True))
        for kind in kinds:
            self._lent[kind].users += 1
            self._lent.move_to_end(kind)
        return [self._lent[kind] for kind in kinds]

    @cached_property
    def _rows(self) -> LateRows:
        """What makes rows; what all of them need is found for the first."""
        return LateRows(self._checkpoint)

    def _policy_of(self, tools: Sequence[Tool], tokens: Sequence[str]) -> GenerativePolicy:
        key = tuple((tool.content_hash, token) for tool, token in zip(tools, tokens, strict=True))
        policy = self._policies.pop(key, None) or self._policy.extended(seen_with(self._checkpoint, tools, tokens))
        self._policies[key] = policy
        while len(self._policies) > POLICIES:
            self._policies.popitem(last=False)
        return policy
