"""The next step of a conversation: what is asked for, what is heard meanwhile and what comes of it. Every protocol has its
requests made into these, and its answers out of these. Knows no wire format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from toolgen.agent import Action, GenerativePolicy
from toolgen.catalog import Tool
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.datasets.trajectory import Message
from toolgen.decoding import DecodingOptions
from toolgen.inference.engine import Work
from toolgen.inference.sampling import Sampling
from toolgen.serving.errors import FormatError, NoCallError
from toolgen.serving.likelihoods import Likelihood, Likelihoods
from toolgen.serving.request_tools import RequestTools

DECLINED = "No tool of the catalog fits this request."
"""What a client reads when the model declines."""
HALF = "\ufffd"
"""What a text ends with while not all bytes of its last character are written."""
_ANSWER = re.compile(r'^\s*\{\s*"answer"\s*:\s*"((?:[^"\\]|\\.)*)', re.S)
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u?[0-9a-fA-F]{0,3}|\\)?$|\\u[0-9a-fA-F]{0,3}$")


End = Literal["call", "answer", "stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is asked for: the assistant's next action after `messages`.

    `tools` are those that it may call (None: all); with `required` it has to call one of them. `tokens` bounds
    what is written. An answer ends before the first of the texts `stop` that is written. `own` are tools that the request
    brings along, beside those of the catalog; they are among "all". Without `parallel` it is one call. With `likelihoods` it is
    told how likely each token was that is drawn, and so many of the likeliest; then it is one call, whose arguments are as the
    model wrote them.
    """

    messages: Sequence[Message]
    tools: tuple[str, ...] | None = None
    required: bool = False
    parallel: bool = True
    tokens: int = 1024
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    own: tuple[Tool, ...] = ()
    likelihoods: int | None = None


@dataclass(frozen=True)
class Begun:
    """The first event: how many tokens the model reads."""

    prompt_tokens: int


@dataclass(frozen=True)
class Piece:
    """Any other event: more text, of the arguments of a call of `tool`, or of the answer (None). The first may be empty.
    `likelihoods` are those of its tokens, if they were asked for; `place` is that of the call in the step."""

    tool: str | None
    text: str
    likelihoods: tuple[Likelihood, ...] = ()
    place: int = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of a step: a call of `tool` with `text` as its arguments, or (None) the answer `text`. A call that `tokens` cut
    is none: `end` is "length" then. `further` are the tools and arguments of calls beside it. `stop` is the text that ended an
    answer. `likelihoods`: of all tokens, if they were asked for."""

    tool: str | None
    text: str
    end: End
    stop: str | None
    prompt_tokens: int
    tokens: int
    further: tuple[tuple[str, str], ...] = ()
    likelihoods: tuple[Likelihood, ...] | None = None

    @property
    def calls(self) -> tuple[tuple[str, str], ...]:
        """The tool and the arguments of each call that is to be made."""
        return ((self.tool, self.text), *self.further) if self.end == "call" and self.tool is not None else ()


@dataclass(frozen=True)
class StepWork:
    """A step as the engine carries it out: `Begun` and `Piece` are its events, a `Reply` its result.

    FormatError where the conversation does not fit into the model, NoCallError where no legal call was found.
    """

    step: Step
    room: RequestTools

    def run(self, work: Work) -> Reply:
        """See `Request`."""
        with self.room.lent(self.step.own, work.check) as policy:
            return self._reply(policy, work)

    def _reply(self, policy: GenerativePolicy, work: Work) -> Reply:
        step = self.step
        prompt = policy.decoder.protocol.prompt(step.messages)
        work.emit(Begun(len(prompt)))
        options = DecodingOptions(sampling=step.sampling)
        if step.likelihoods is None:
            likelihoods, own = None, policy.conversation(work, options)
        else:
            likelihoods = Likelihoods(policy)
            own = policy.conversation(work, options, on_draw=likelihoods.hear, likeliest=step.likelihoods)
        writing = Writing(step.stop, work.emit, likelihoods)
        action = own.act(
            step.messages,
            step.tools,
            prompt=prompt,
            tokens=step.tokens,
            required=step.required,
            parallel=step.parallel,
            on_text=writing.hear,
            verbatim=likelihoods is not None,
        )
        if action.stuck == "context_full":
            raise FormatError(action.fault, "messages", "context_length_exceeded")
        if action.stuck == "invalid_arguments":
            raise NoCallError(f"the model wrote no valid arguments for {action.tool}: {action.fault}")
        return writing.reply(action, len(prompt))


@dataclass(frozen=True)
class CountWork:
    """How many tokens the model would read for a step."""

    step: Step
    room: RequestTools

    def run(self, work: Work) -> int:
        """See `Request`."""
        with self.room.lent(self.step.own, work.check) as policy:
            return len(policy.decoder.protocol.prompt(self.step.messages))


class Writing:
    """What is written: tells of it piece by piece, and where it has to end."""

    def __init__(
        self, stop: Sequence[str], tell: Callable[[Any], None], likelihoods: Likelihoods | None = None
    ) -> None:
        self._stop, self._tell, self._likelihoods = stop, tell, likelihoods
        self._tool: str | None = None
        self._text, self._sent, self._is_open = "", 0, False
        self._found: str | None = None
        self._further: dict[int, tuple[str, str]] = {}

    def hear(self, place: int, tool: str, arguments: str) -> bool:
        """Takes an action, its place in the step and the text of its arguments so far; whether it ends here."""
        if place:
            self._further[place] = tool, arguments
            self._tell(Piece(tool, arguments, place=place))
            return False
        answers = tool in (FINISH, NO_TOOL)
        self._tool = None if answers else tool
        text = arguments if not answers else answer_so_far(arguments) if tool == FINISH else DECLINED
        self._text = text.rstrip(HALF)
        hidden = 0
        if tool == FINISH and self._stop:
            self._found, at = first_stop(self._text, self._stop)
            if self._found is not None:
                self._text = self._text[:at]
            hidden = len(self._text) - at
        if self._likelihoods:
            if not self._is_open:
                self._likelihoods.chose(tool)
            self._likelihoods.wrote(self._text)
        self._send(len(self._text) - hidden)
        return self._found is not None

    def reply(self, action: Action, prompt_tokens: int) -> Reply:
        """What came of it, once the action is made."""
        if action.is_finish and not action.stuck and self._found is None:
            self._text = str(action.arguments["answer"])
        if self._likelihoods:
            self._likelihoods.wrote(self._text)
        self._send(len(self._text))
        end: End = "answer" if self._tool is None else "call"
        if self._found is not None:
            end = "stop"
        elif action.stuck:
            end = "length"
        return Reply(
            tool=self._tool,
            text=self._text,
            end=end,
            stop=self._found,
            prompt_tokens=prompt_tokens,
            tokens=action.tokens,
            further=tuple(self._further.values()),
            likelihoods=self._likelihoods.taken if self._likelihoods else None,
        )

    def _send(self, until: int) -> None:
        """Tells of the text up to there, and at first of what is begun."""
        piece = self._text[self._sent : until]
        likelihoods = self._likelihoods.take(until) if self._likelihoods else ()
        if piece or likelihoods or not self._is_open:
            self._tell(Piece(self._tool, piece, likelihoods))
        self._sent, self._is_open = max(self._sent, until), True


def first_stop(text: str, stop: Sequence[str]) -> tuple[str | None, int]:
    """The text of `stop` that comes first, and where; or None and the place from where one of them may have begun."""
    found = min(((at, one) for one in stop if (at := text.find(one)) >= 0), default=None)
    if found:
        return found[1], found[0]
    longest = max(map(len, stop), default=1) - 1
    for at in range(max(0, len(text) - longest), len(text)):
        if any(one.startswith(text[at:]) for one in stop):
            return None, at
    return None, len(text)


def answer_so_far(arguments: str) -> str:
    """The answer's text in the arguments of `finish`, as far as they are written."""
    found = _ANSWER.match(arguments)
    if not found:
        return ""
    text = _HALF_PAIR.sub("", found[1])
    while text:
        try:
            return str(json.loads(f'"{text}"'))
        except ValueError:
            text = text[:-1]
    return ""
