"""ToolDecoder: what the model may write at each point, so that every call it emits is one that can be carried out.

The choice of a tool is one pass and one argmax over the tool rows, or, where a tool is several tokens, a walk down the trie of
their sequences, one such choice a token; the arguments follow the tool's JSON Schema token by
token. Each step also looks at what the model would have written without these rules: that is how the result can say
how often it would have called a tool that does not exist, or written arguments that do not parse or validate.
Knows a checkpoint's model, tokenizer, vocabulary and catalog; no conversation and no environment.
Shapes: V rows of the output matrix, L legal tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from toolgen.catalog.schema import best_fault
from toolgen.datasets.messages import NO_TOOL
from toolgen.decoding.grammar import ArgumentGrammar, GrammarCompiler
from toolgen.decoding.matcher import Matcher
from toolgen.decoding.values import is_plain_json
from toolgen.errors import UsageError
from toolgen.inference.sampling import Sampling
from toolgen.inference.session import OnDraw, Session
from toolgen.inference.trie import ROOT, Trie
from toolgen.virtualization.vocabulary import ACTIONS

if TYPE_CHECKING:
    from torch import Tensor

    from toolgen.catalog.tool import Definition
    from toolgen.checkpoint import Checkpoint
    from toolgen.inference.passes import Passes

ArgumentStatus = Literal["ok", "cut", "invalid"]
OnText = Callable[[str], bool | None]
"""Hears what is written so far; whether it ends there."""
THOUGHT = "thought"
"""Of a drawn token: it is a part of one."""
CANDIDATES = 8
"""How many actions a choice tells of."""


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How calls are decoded.

    `argument_tokens` bounds an argument object: one that is longer is cut, and never carried out. `thought_tokens` bounds the
    thought that is written before an action; 0: none is. `fast_forward` writes text that the schema leaves no choice about (the
    next key, mostly) without asking the model token by token.
    """

    argument_tokens: int = 2048
    thought_tokens: int = 0
    fast_forward: bool = True
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, kw_only=True)
class ToolChoice:
    """The chosen tool id (or "finish" or "no_tool") and its share of the probability among what was legal.

    `tool_exists`: the token that the model rated highest over its whole vocabulary is one that a tool, finish or no_tool begins
    with (and so on behind it, where a tool is several tokens). Otherwise an unconstrained model would have written text here,
    that is, no call or one of a name it makes up. `tool_allowed`: that token also was among those allowed here.

    `candidates`: the likeliest legal actions and their shares, best first, if each is one token; else none.
    """

    tool: str
    probability: float
    tool_exists: bool
    tool_allowed: bool
    candidates: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The argument object of one call.

    `value` is None unless `status` is "ok": an object that a limit or the end of the context cut ("cut") or that breaks
    the full schema ("invalid", possible only if `relaxed`) is not emitted; `fault` then says so in a line.
    `steps` counts the tokens, `masked` those where the model's own first choice was outside the grammar; with
    `masked` above 0 the unconstrained model would have left the grammar.
    """

    value: Mapping[str, Any] | None
    text: str
    status: ArgumentStatus
    fault: str = ""
    steps: int = 0
    masked: int = 0
    relaxed: bool = False

    @property
    def tokens(self) -> int:
        """How many tokens were written."""
        return self.steps


class Actions(NamedTuple):
    """What can be chosen: a trie of token sequences, the name of each of them, and where each is one token, the places in the
    catalog of the first tokens' tools, -1 for an action."""

    trie: Trie
    names: tuple[str, ...]
    tools_L: npt.NDArray[np.int64]

    @property
    def places_T(self) -> npt.NDArray[np.intp]:
        """Which of the first tokens are tools."""
        return np.flatnonzero(self.tools_L >= 0)

    def of_tools(self, scores_L: Tensor, added_N: npt.NDArray[np.floating] | None) -> tuple[Tensor, Tensor]:
        """The scores of the first tokens that are tools, and the same with logits added."""
        places_T = self.places_T
        scores_T = scores_L[places_T]
        added = 0 if added_N is None else scores_T.new_tensor(added_N[self.tools_L[places_T]])
        return scores_T, scores_T + added

    def summed(self, added_N: npt.NDArray[np.floating], scores_L: Tensor) -> Tensor:
        """The scores of the first tokens with logits added to those of tools: a product of the two distributions over the
        tools, which together keep their share."""
        before_T, after_T = self.of_tools(scores_L, added_N)
        summed_L = scores_L.clone()
        summed_L[self.places_T] = after_T + (before_T.logsumexp(0) - after_T.logsumexp(0))
        return summed_L

    def likeliest(self, scores_L: Tensor) -> tuple[tuple[str, float], ...]:
        """The likeliest of them and their shares, by the scores of their first tokens; none where one has several tokens."""
        rows_L = self.trie.rows_M[self.trie.children(ROOT)]
        shares, places = scores_L.softmax(0).topk(min(CANDIDATES, len(scores_L)))
        pairs = [(int(rows_L[place]), share) for place, share in zip(places.tolist(), shares.tolist(), strict=True)]
        return tuple((self.names[row], share) for row, share in pairs) if min(pairs)[0] >= 0 else ()


class ToolDecoder:
    """Decodes choices and arguments with one checkpoint; sessions hold the state, the decoder holds none.

    decoder = ToolDecoder(checkpoint)
    session = decoder.session()
    session.sync(checkpoint.protocol.prompt([{"role": "user", "content": "Weather in Oslo?"}]))
    choice = decoder.choose(session)
    arguments = decoder.arguments(session, choice.tool)
    """

    def __init__(
        self, checkpoint: Checkpoint, options: DecodingOptions | None = None, *, passes: Passes | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.protocol = checkpoint.protocol
        self.options = options or DecodingOptions()
        self._given_passes = passes
        self._action_ids = checkpoint.vocabulary.action_token_ids
        # Text uses the ids below those that toolgen added; what lies above the actions is padding.
        self._grammars = GrammarCompiler(
            checkpoint.tokenizer, vocabulary_size=self._action_ids.start, end_id=checkpoint.protocol.end_id
        )
        # Decoders are few and live long; the caches below are theirs.
        self._grammar_of = lru_cache(maxsize=4096)(self._compile)
        self._actions_of = lru_cache(maxsize=64)(self._make_actions)

    @cached_property
    def passes(self) -> Passes:
        """What makes the passes of sessions; unless it was given, the model itself, at once."""
        from toolgen.inference.passes import Runner

        return self._given_passes or Runner(self.checkpoint.model)

    def session(
        self, *, passes: Passes | None = None, task: str = "", on_draw: OnDraw | None = None, likeliest: int = 0
    ) -> Session:
        """An empty sequence for this model; `passes` makes its passes. What it draws depends on the seed and the `task`;
        `on_draw` hears of it, with the name of the action whose arguments a token is a part of, and of as many of the
        `likeliest`."""
        seed = self.options.sampling.seed
        drawn = random.Random(f"{seed} {task}").getrandbits(63) if task else seed
        return Session(passes or self.passes, seed=drawn, on_draw=on_draw, likeliest=likeliest)

    def with_options(self, options: DecodingOptions) -> ToolDecoder:
        """The same decoder, which shares what it has compiled, with other options."""
        other = copy(self)
        other.options = options
        return other

    def extended(self, checkpoint: Checkpoint) -> ToolDecoder:
        """The same decoder for the same model with more tools (`checkpoint.changes.seen_with`)."""
        other = copy(self)
        other.checkpoint = checkpoint
        other.protocol = self.protocol.extended(checkpoint.vocabulary, checkpoint.catalog)
        other._grammar_of = lru_cache(maxsize=4096)(other._compile)
        other._actions_of = lru_cache(maxsize=64)(other._make_actions)
        return other

    def redefined(self, definitions: Sequence[Definition]) -> ToolDecoder:
        """The same decoder, where some tools are defined otherwise than the catalog says."""
        other = copy(self)
        other.protocol = self.protocol.redefined(definitions)
        other._grammar_of = lru_cache(maxsize=4096)(other._compile)
        return other

    def choose(
        self,
        session: Session,
        allowed: Sequence[str] | None = None,
        *,
        required: bool = False,
        added_N: npt.NDArray[np.floating] | None = None,
    ) -> ToolChoice:
        """The next action where the session ends: a tool of `allowed` (default: all), and unless a tool is `required` finish or
        no_tool. UsageError if nothing is left.

        `added_N` are logits of the catalog's tools, for instance those of another retriever, which are added to the model's.
        How likely a tool is called at all stays what the model says; they only share that out among the tools. UsageError
        where a tool is several tokens.

        Where tools are several tokens, each is chosen behind those before it; the session is left as it was.
        """
        choice = self._choose(session, self.actions(allowed, required=required), self.actions().trie, added_N=added_N)
        assert choice is not None, "nothing else could be drawn"
        return choice

    def evidence(
        self,
        session: Session,
        allowed: Sequence[str] | None = None,
        *,
        added_N: npt.NDArray[np.floating] | None = None,
    ) -> tuple[float, float, float]:
        """What a calibration judges the choice of a tool by where the session ends: `top`, `top - second` and `declining`, as
        `checkpoint.calibration` has them. UsageError where a tool is several tokens."""
        if not self.checkpoint.vocabulary.is_atomic:
            raise UsageError("a choice has evidence where each tool is one token; here it is several")
        legal = self.actions(allowed)
        scores_L = session.logits_V[legal.trie.tokens_M[legal.trie.children(ROOT)].tolist()]
        model_T, sum_T = legal.of_tools(scores_L, added_N)
        top, *others = sum_T.topk(min(2, len(sum_T))).values.tolist()
        no_tool = float(session.logits_V[self.checkpoint.vocabulary.no_tool_id])
        return top, top - others[0] if others else 0.0, no_tool - float(model_T.max())

    def choose_another(
        self,
        session: Session,
        allowed: Sequence[str] | None = None,
        *,
        added_N: npt.NDArray[np.floating] | None = None,
    ) -> ToolChoice | None:
        """A further tool where the session ends behind a call, as `choose` chooses it; None where the turn ends instead."""
        legal = self.actions(allowed, required=True)
        return self._choose(session, legal, self.actions().trie, self.protocol.end_id, added_N)

    def _choose(
        self,
        session: Session,
        legal: Actions,
        every: Trie,
        end: int | None = None,
        added_N: npt.NDArray[np.floating] | None = None,
    ) -> ToolChoice | None:
        """One of the legal actions, among all that there are; None if the token `end`, which may be drawn too, is."""
        if added_N is not None and not self.checkpoint.vocabulary.is_atomic:
            raise UsageError("logits can be added where each tool is one token; here it is several")
        start, node, place = list(session.ids), ROOT, ROOT  # in the trie of what is legal, and in that of everything
        probability, exists, permitted = 1.0, True, True
        candidates: tuple[tuple[str, float], ...] = ()
        while legal.trie.rows_M[node] < 0 or (end is not None and node == ROOT):
            logits_V, children = session.logits_V, legal.trie.children(node)
            tokens_L = legal.trie.tokens_M[children]
            drawn_L = tokens_L if end is None or node != ROOT else np.append(tokens_L, end)
            scores_L = logits_V[drawn_L.tolist()]
            if added_N is not None:
                scores_L = legal.summed(added_N, scores_L)
            token = session.draw(self.options.sampling, drawn_L, scores=scores_L)
            if token == end:
                return None
            scores_L = scores_L[: len(tokens_L)]
            index = int(np.searchsorted(tokens_L, token))
            if node == ROOT:
                candidates = legal.likeliest(scores_L)
            best = int(logits_V.argmax())
            exists = exists and every.child(place, best) is not None
            permitted = permitted and legal.trie.child(node, best) is not None
            probability *= float(scores_L.softmax(0)[index])
            node, place = children.start + index, every.child(place, token) or ROOT
            if legal.trie.rows_M[node] < 0:
                session.extend([token])
        if len(session.ids) > len(start):
            session.sync(start)
        tool = legal.names[int(legal.trie.rows_M[node])]
        return ToolChoice(
            tool=tool, probability=probability, tool_exists=exists, tool_allowed=permitted, candidates=candidates
        )

    def actions(self, allowed: Sequence[str] | None = None, *, required: bool = False) -> Actions:
        """What can be chosen among `allowed` tools (default: all): finish and no_tool, too, unless a tool is `required`."""
        return self._actions_of(None if allowed is None else tuple(allowed), required)

    def matcher(self, action: str) -> Matcher:
        """The beginning of the arguments of an action."""
        return self._grammars.matcher(self._grammar_of(action))

    def begin_call(self, session: Session, action: str, messages: Sequence[Mapping[str, Any]] = ()) -> None:
        """Appends the action's tokens and what the protocol puts between them and its arguments (the documentation, unless
        the `messages` before show it)."""
        sequence = self.checkpoint.vocabulary.sequence(action)
        session.extend([*sequence, *self.protocol.after_tool(action, messages)])

    def arguments(
        self, session: Session, action: str, *, tokens: int | None = None, on_text: OnText | None = None
    ) -> Arguments:
        """The argument object of `action` where the session ends; afterwards the session may end inside it: `sync`.

        `tokens` bounds it further than the option `argument_tokens` does; `on_text` hears what is written so far and
        may end it.
        """
        if action == NO_TOOL:
            return Arguments(value={}, text="{}", status="ok")
        grammar = self._grammar_of(action)
        schema = self.protocol.arguments_schema(action)
        limit = self.options.argument_tokens if tokens is None else min(tokens, self.options.argument_tokens)
        run = _ArgumentRun(self.options, session, self.matcher(action), limit, action)
        return run.run(grammar, schema, on_text)

    def text(self, session: Session) -> list[int]:
        """A thought where the session ends: at least one token of free text, up to the end of the turn, an action token or the
        limit `thought_tokens`, all left out.

        Returns the token ids; the session then holds them, and its scores are those of what follows.
        """
        written: list[int] = []
        allowed_V = np.arange(self._action_ids.stop) < self._action_ids.start
        allowed_V[self.protocol.end_id] = False
        while len(written) < min(self.options.thought_tokens, session.room - 1):
            token_id = session.draw(self.options.sampling, allowed_V, purpose=THOUGHT)
            if token_id >= self._action_ids.start or token_id == self.protocol.end_id:
                break
            allowed_V = np.ones_like(allowed_V)
            session.extend([token_id])
            written.append(token_id)
        return written

    def token_text(self, token_id: int) -> str:
        """What a token adds to the text of arguments."""
        content: bytes = self._grammars.alphabet.decode_bytes([token_id])
        return content.decode("utf-8", errors="replace")

    def _make_actions(self, allowed: tuple[str, ...] | None, required: bool) -> Actions:
        vocabulary = self.checkpoint.vocabulary
        tools = vocabulary.tool_ids if allowed is None else dict.fromkeys(allowed)
        names = (*(() if required else ACTIONS), *tools)
        if not names:
            raise UsageError("a tool is required, and none is allowed")
        trie = Trie.build([vocabulary.sequence(name) for name in names])
        position = self.checkpoint.catalog.position
        first = [names[row] if row >= 0 else "" for row in trie.rows_M[trie.children(ROOT)].tolist()]
        return Actions(trie, names, np.array([position(name) if name not in ("", *ACTIONS) else -1 for name in first]))

    def _compile(self, action: str) -> ArgumentGrammar:
        return self._grammars.compile(self.protocol.arguments_schema(action))


class _ArgumentRun:
    """The decoding of the argument object of an `action`, of at most `limit` tokens and what the context has room for."""

    def __init__(self, options: DecodingOptions, session: Session, matcher: Matcher, limit: int, action: str) -> None:
        self._options = options
        self._session = session
        self._matcher = matcher
        self._limit = limit
        self._action = action
        self._masked = 0

    def run(self, grammar: ArgumentGrammar, schema: Mapping[str, Any], on_text: OnText | None) -> Arguments:
        while not (self._matcher.complete or self._matcher.stuck) and self._left > 0:
            self._advance()
            if on_text and on_text(self._matcher.text):
                break
        text, steps = self._matcher.text, len(self._matcher.tokens)
        status: ArgumentStatus = "ok"
        value: Mapping[str, Any] | None = None
        fault = ""
        if self._matcher.complete:
            value, fault = read_arguments(text, schema)
            status = "ok" if value is not None else "invalid"
        elif self._matcher.stuck:
            status, fault = "invalid", "the grammar admits no continuation"
        else:
            status, fault = "cut", f"cut after {steps:,} tokens"
        return Arguments(
            value=value,
            text=text,
            status=status,
            fault=fault,
            steps=steps,
            masked=self._masked,
            relaxed=grammar.relaxed,
        )

    @property
    def _left(self) -> int:
        """How many more tokens may be written."""
        return min(self._limit - len(self._matcher.tokens), self._session.room)

    def _advance(self) -> None:
        """Writes the forced tokens if there are any, else one chosen token."""
        forced = self._matcher.forced() if self._options.fast_forward else []
        if forced:
            self._write_forced(forced[: self._left])
        else:
            chosen = self._choose()
            if chosen is not None:
                self._write(chosen)

    def _write_forced(self, forced: Sequence[int]) -> None:
        """One pass over all forced tokens; the model's own choice at each of them is looked at all the same."""
        choices = [int(self._session.logits_V.argmax())]
        following_TV = self._session.extend(forced, keep=len(forced))
        choices += following_TV[:-1].argmax(-1).tolist()
        for token_id, choice in zip(forced, choices, strict=True):
            self._masked += choice != token_id and not self._is_allowed(choice)
            self._matcher.consume(token_id)

    def _choose(self) -> int | None:
        """One legal token; None if there is none."""
        allowed_V = self._matcher.allowed_V()
        if self._matcher.stuck:
            return None
        choice = int(self._session.logits_V.argmax())
        self._masked += not (choice < len(allowed_V) and bool(allowed_V[choice]))
        return self._session.draw(self._options.sampling, allowed_V, purpose=self._action)

    def _write(self, token_id: int) -> None:
        self._matcher.consume(token_id)
        # The pass after the last token would answer a question that nobody asks.
        if not self._matcher.complete:
            self._session.extend([token_id])

    def _is_allowed(self, token_id: int) -> bool:
        allowed_V = self._matcher.allowed_V()
        return token_id < len(allowed_V) and bool(allowed_V[token_id])


def read_arguments(text: str, schema: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The argument object in a text; or None, and why: it does not parse, cannot be sent as JSON or breaks the schema."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {error}"
    if not isinstance(value, dict):
        return None, "not an object"
    if not is_plain_json(value):
        return None, "a number is not finite or a text has half a character"
    fault = best_fault(value, schema)
    return (value, "") if fault is None else (None, fault)
