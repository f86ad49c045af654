"""Tools that a request brings along: each has one of the checkpoint's spare tokens for as long as it is in use, with the row
that its documentation makes. Knows no wire format."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass

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
HEARD_SECONDS = 0.2
"""How often it is looked whether a request that waits still may."""


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
    its row then costs nothing. The model's other rows stay as they are, and the tool is what `with_tools` would make of it.

    What all rows need is found in a thread of its own from the start: for a checkpoint that was trained it takes passes over
    many of its tools. Requests with tools of their own wait for it, the others do not. `close` ends it.
    """

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
        self._noting = threading.Lock()
        self._making = threading.Lock()  # held for passes; what is known already does not wait for it
        self._closed = threading.Event()
        self._rows: Future[LateRows] = Future()
        self._preparing = threading.Thread(target=self._prepare, name="toolgen-rows", daemon=True)
        if self.room:
            self._preparing.start()

    def close(self) -> None:
        """Ends the preparation, if it goes on."""
        self._closed.set()
        if self.room:
            self._preparing.join()

    def check(self, tools: Sequence[Tool]) -> None:
        """FormatError for more tools than there is room for. CatalogError for a broken schema, UsageError where tools are
        several tokens."""
        check_new(self._checkpoint, tools)
        if len(tools) > self.room:
            raise FormatError(
                f"the request brings {len(tools)} tools of its own; this server has room for {self.room}", "tools"
            )

    @contextmanager
    def lent(self, tools: Sequence[Tool], check: Callable[[], None] = lambda: None) -> Iterator[GenerativePolicy]:
        """The policy of the model with these tools, as long as the context lasts. BusyError where other requests have the
        tokens; while it waits and reads, what `check` raises."""
        if not tools:
            yield self._policy
            return
        lent = self._taken(tools, check)
        try:
            with self._noting:
                policy = self._policy_of(tools, [one.token for one in lent])
            yield policy
        finally:
            with self._noting:
                for one in lent:
                    one.users -= 1

    def _taken(self, tools: Sequence[Tool], check: Callable[[], None]) -> list[_Lent]:
        """The tokens of tools, which are theirs from now on; those that are new get rows."""
        kinds = [tool.content_hash for tool in tools]
        with self._noting:
            if all(kind in self._lent for kind in kinds):
                return self._used(kinds)
        late_rows = self._prepared(check)
        with self._making:
            with self._noting:
                new = [tool for tool in tools if tool.content_hash not in self._lent]
                tokens = self._freed(len(new), kinds)
            try:
                if new:
                    rows = late_rows.of(new, lambda *_: check())
                    write_new_rows(self._checkpoint, [self._ids[token] for token in tokens], rows)
            except BaseException:
                with self._noting:
                    self._free += tokens
                raise
            with self._noting:
                self._lent.update((tool.content_hash, _Lent(token)) for tool, token in zip(new, tokens, strict=True))
                return self._used(kinds)

    def _freed(self, count: int, kept: Sequence[str]) -> list[str]:
        """So many tokens that no tool has any more, and that are nobody's to take."""
        idle = [kind for kind, one in self._lent.items() if not one.users and kind not in kept]
        missing = count - len(self._free)
        if missing > len(idle):
            raise BusyError("the tools of other requests take all the room; try again in a second")
        self._free += [self._lent.pop(kind).token for kind in idle[: max(0, missing)]]
        return [self._free.pop() for _ in range(count)]

    def _used(self, kinds: Sequence[str]) -> list[_Lent]:
        for kind in kinds:
            self._lent[kind].users += 1
            self._lent.move_to_end(kind)
        return [self._lent[kind] for kind in kinds]

    def _prepare(self) -> None:
        try:
            self._rows.set_result(LateRows(self._checkpoint, on_progress=self._go_on))
        except BaseException as error:  # whoever brings tools hears of it
            self._rows.set_exception(error)

    def _go_on(self, _done: int, _total: int) -> None:
        if self._closed.is_set():
            raise CancelledError("the server ends")

    def _prepared(self, check: Callable[[], None]) -> LateRows:
        while not self._rows.done():
            check()
            wait([self._rows], HEARD_SECONDS)
        return self._rows.result()

    def _policy_of(self, tools: Sequence[Tool], tokens: Sequence[str]) -> GenerativePolicy:
        key = tuple((tool.content_hash, token) for tool, token in zip(tools, tokens, strict=True))
        policy = self._policies.pop(key, None) or self._policy.extended(seen_with(self._checkpoint, tools, tokens))
        self._policies[key] = policy
        while len(self._policies) > POLICIES:
            self._policies.popitem(last=False)
        return policy
