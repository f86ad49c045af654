"""Policy: a conversation in, the next action out. The model's, and a scripted one.

Knows no environment: what can be called now is handed in. A policy of your own needs the one method `act`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from toolgen.agent.said import further_ask, rest_of, text_of, without_unsaid
from toolgen.datasets.messages import FINISH, NO_TOOL, calls_by_turn, calls_message
from toolgen.datasets.trajectory import Diagnostics, Message
from toolgen.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from toolgen.checkpoint import Checkpoint
    from toolgen.checkpoint.calibration import Calibration
    from toolgen.datasets.task import Task
    from toolgen.decoding import Arguments, DecodingOptions, ToolChoice
    from toolgen.inference.passes import Passes
    from toolgen.inference.session import OnDraw
    from toolgen.retrieval import SumRetriever

SHOWN = 0.75
"""Share of the model's context that the conversation may take; the rest is for the next call and its documentation."""
MAX_CALLS = 16
"""Calls in one message, at most."""
REST = 5
"""Tokens of a request that the calls before leave, at least, where a further call has something to be about."""
TEMPERATURE = 0.7
"""With which a further attempt draws."""

OnText = Callable[[int, str, str], bool | None]
OnChoice = Callable[["ToolChoice"], None]
StuckReason = Literal["", "context_full", "arguments_cut", "invalid_arguments"]


@dataclass(frozen=True, kw_only=True)
class Action:
    """The assistant's next step: the call of a tool, "finish" or "no_tool".

    `stuck` is empty unless no legal call could be completed; such an action is not carried out, and `fault` says why in a
    line. `tokens` counts what was generated for all of it, of which `thought_tokens` for the thought, `prompt_tokens` what
    was read, `diagnostics` says how, where a decoder decided. `parallel` are further calls of the same step, none of which
    needs another's result: they are carried out at the same time.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    thought: str = ""
    stuck: StuckReason = ""
    fault: str = ""
    tokens: int = 0
    thought_tokens: int = 0
    prompt_tokens: int = 0
    diagnostics: Diagnostics | None = None
    parallel: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        if self.parallel and not all(one.is_call for one in (self, *self.parallel)):
            raise UsageError("only calls of tools can be parallel, and none that is stuck")
        if min(self.tokens, self.prompt_tokens) < 0:
            raise UsageError(f"{min(self.tokens, self.prompt_tokens)} tokens; expected a count from 0 on")

    @property
    def is_call(self) -> bool:
        """Whether a tool is called."""
        return not (self.stuck or self.is_finish or self.is_decline)

    @property
    def is_finish(self) -> bool:
        """Whether the turn ends with an answer, or with giving up."""
        return self.tool == FINISH

    @property
    def is_decline(self) -> bool:
        """Whether the turn ends because no tool fits."""
        return self.tool == NO_TOOL


class Policy(Protocol):
    """Decides what the assistant does next."""

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        """The next action after `messages` (which end with a user, tool or system message), among `tools` (None: the
        whole catalog), "finish" and "no_tool"; about `tokens` may be generated for it."""


class ScriptedPolicy:
    """Replays given actions; afterwards it finishes. For tests."""

    def __init__(self, actions: Iterable[Action | tuple[str, Mapping[str, Any]]]) -> None:
        self._actions = iter(actions)

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        action = next(self._actions, None)
        if action is None:
            return Action(tool=FINISH, arguments={"answer": "Done."})
        return action if isinstance(action, Action) else Action(tool=action[0], arguments=action[1])


@runtime_checkable
class PerTask(Policy, Protocol):
    """A policy that is another one for each task."""

    def for_task(self, task: Task, passes: Passes | None = None) -> Policy:
        """The same policy for one task, whose model's passes `passes` makes."""


@runtime_checkable
class Drawing(Policy, Protocol):
    """A policy that can make further attempts, drawing where it takes the likeliest else."""

    def attempt(self, number: int, temperature: float) -> Policy:
        """The same policy for the attempt of that number, which draws with the temperature."""


class RetryingPolicy:
    """Where `policy` gives up, asks it again, up to `times` in each task, with TEMPERATURE: so ToolGen is evaluated."""

    def __init__(self, policy: Drawing, times: int) -> None:
        self._policy, self._left = policy, times

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        """See `Policy`. The tokens of an action hold those of the attempts before it."""
        action = self._policy.act(messages, tools, tokens=tokens)
        while self._left and action.is_finish and action.arguments.get("gave_up"):
            left = None if tokens is None else tokens - action.tokens
            if left is not None and left <= 0:
                break
            again = self._policy.attempt(self._left, TEMPERATURE).act(messages, tools, tokens=left)
            self._left -= 1
            action = replace(
                again,
                tokens=action.tokens + again.tokens,
                thought_tokens=action.thought_tokens + again.thought_tokens,
                prompt_tokens=action.prompt_tokens + again.prompt_tokens,
            )
        return action


class GivenTools:
    """The right tools in the right order are given ("finish" ends a turn, several at once are independent calls); the policy
    behind fills in the arguments.

    Measures argument filling apart from finding tools.
    """

    def __init__(self, policy: GenerativePolicy, tools: Iterable[str | tuple[str, ...]]) -> None:
        self._policy = policy
        self._tools = iter(tools)

    def act(
        self, messages: Sequence[Message], tools: Sequence[str] | None = None, *, tokens: int | None = None
    ) -> Action:
        tool = next(self._tools, FINISH)
        if tool == FINISH:
            return Action(tool=FINISH, arguments={"answer": "Done."})
        return self._policy.act(messages, tokens=tokens, given=(tool,) if isinstance(tool, str) else tool)


def right_tools(task: Task) -> Iterator[str | tuple[str, ...]]:
    """The right tools of a task, turn by turn, for `GivenTools`. In a world of its own a call may need what another has done;
    else they are independent, as they are learned."""
    for turn in task.turns:
        tools = tuple(call.tool for call in turn.calls or ())
        yield from tools if task.package or not tools else (tools,)
        yield FINISH


@dataclass(frozen=True)
class Declining:
    """Declines at most the share `rate` of the requests that a tool answers, as a calibration tells it."""

    calibration: Calibration
    rate: float


class GenerativePolicy:
    """The model of a checkpoint, decoding legal actions only.

    The whole conversation is rendered at every step, but only what is new is encoded: the session keeps the model's
    cache over the turns of one conversation. One that takes more than SHOWN of the context is shown from a later turn on. With
    the option `thought_tokens` the model writes a thought before each action. Where it answers a user's words, the logits that
    `added`, which has indexed the checkpoint's catalog, gives them are added to the model's: for a further call in the same
    message those of what the calls before leave of the request (`said.rest_of`). What follows a result is the model's alone.
    With `only_said`, an optional argument whose value nobody has said is left out, and so is a further call where the request
    says nothing more (fewer than REST tokens): a small model fills in what it was not asked for. With `further_by_text` the
    words left of the request decide whether a further call follows (`said.further_ask`), not the model, and then results
    are answered. `declining` says whether the first request of a conversation is declined after all, by how sure the
    choice of a tool is (`ToolDecoder.evidence`).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        options: DecodingOptions | None = None,
        added: SumRetriever | None = None,
        only_said: bool = False,
        further_by_text: bool = False,
        declining: Declining | None = None,
    ) -> None:
        from toolgen.decoding import ToolDecoder

        self.checkpoint = checkpoint
        self.added = added
        self.only_said = only_said
        self.further_by_text = further_by_text
        self.declining = declining
        self.decoder = ToolDecoder(checkpoint, options)
        self._passes: Passes | None = None
        self._task = ""
        self._session = self.decoder.session()

    def for_task(
        self, task: Task, passes: Passes | None = None, *, seed: str | None = None, on_draw: OnDraw | None = None
    ) -> GenerativePolicy:
        """The same policy with a conversation of its own. It reads the task's own definitions of tools; what it draws
        depends on `seed`, by default the task's id, and `on_draw` hears of it."""
        other = copy(self)
        if task.definitions:
            other.decoder = other.decoder.redefined(task.definitions)
        other._task = task.id if seed is None else seed
        return other.conversation(passes, on_draw=on_draw)

    def conversation(
        self,
        passes: Passes | None,
        options: DecodingOptions | None = None,
        *,
        on_draw: OnDraw | None = None,
        likeliest: int = 0,
    ) -> GenerativePolicy:
        """The same policy, or with other options, in a conversation of its own, whose passes `passes` makes; `on_draw` hears of
        what it draws and of the `likeliest`."""
        other = copy(self)
        if options:
            other.decoder = other.decoder.with_options(options)
        other._passes = passes
        other._session = other.decoder.session(passes=passes, task=self._task, on_draw=on_draw, likeliest=likeliest)
        return other

    def attempt(self, number: int, temperature: float) -> GenerativePolicy:
        """The same policy, drawing its actions, in a conversation of its own. What it draws depends on the seed of its options,
        the task and the number."""
        drawn = replace(self.decoder.options.sampling, temperature=temperature)
        other = copy(self)
        other._task = f"{self._task} attempt {number}"
        return other.conversation(self._passes, replace(self.decoder.options, sampling=drawn))

    def extended(self, checkpoint: Checkpoint) -> GenerativePolicy:
        """The same policy for the same model with more tools, of which `added` and `declining` know nothing."""
        other = copy(self)
        other.checkpoint, other.decoder = checkpoint, self.decoder.extended(checkpoint)
        other.added = other.declining = None
        return other

    def act(
        self,
        messages: Sequence[Message],
        tools: Sequence[str] | None = None,
        *,
        prompt: Sequence[int] | None = None,
        tokens: int | None = None,
        given: Sequence[str] = (),
        required: bool = False,
        parallel: bool = True,
        on_choice: OnChoice | None = None,
        on_text: OnText | None = None,
        verbatim: bool = False,
    ) -> Action:
        """See `Policy`. The `given` tools are not chosen but taken; with `required` it is a tool, neither "finish" nor
        "no_tool". `prompt` are the token ids of the messages, where they are known. Without `parallel` it is one call.

        `on_choice` hears how each tool was chosen. `on_text` hears of each action its place in the step, the tool and the
        arguments: empty once the tool is chosen, then those of an answer as they are written (if it says so, they end there)
        and those of a call when they are complete; a call behind the first is told only if it is made. With `verbatim` all
        are heard as they are written: then no argument is left out, and one call is made."""
        from toolgen.decoding import ContextFullError

        self._written = self._thought = 0
        if prompt is None:
            messages, prompt = self._shown(messages)
        hearing = _Hearing(on_choice, on_text, verbatim)
        try:
            self._read = len(prompt)
            self._session.sync(prompt)
            thought = self._think() if self.decoder.options.thought_tokens else ""
            choice = self._choice(messages, tools, required, at_once=parallel and not verbatim)
            tool = given[0] if given else choice.tool
            hearing.chose(choice)
            hearing.begins(0, tool)
            arguments = self._arguments(tool, messages, tokens, hearing)
        except ContextFullError:
            fault = "the conversation does not fit into the model's context"
            return Action(
                tool="", stuck="context_full", fault=fault, tokens=self._written, thought_tokens=self._thought
            )
        action = self._action(tool, thought, choice, arguments)
        if not action.is_call:
            return action
        hearing.wrote(0, tool, arguments)
        if verbatim or not parallel or len(given) == 1:
            return action
        further, written = self._further(messages, action, tools, tokens, given[1:], hearing)
        return replace(action, parallel=further, tokens=action.tokens + written)

    def _choice(
        self, messages: Sequence[Message], tools: Sequence[str] | None, required: bool, at_once: bool
    ) -> ToolChoice:
        """What the model does first. It is no_tool instead of a tool where that is too unsure. `at_once` says that all calls of
        a request are made in one message."""
        if self.further_by_text and not required and _is_answered(messages, at_once):
            return replace(self.decoder.choose(self._session, ()), tool=FINISH)
        added_N = self._added_N(self._unanswered(messages), tools)
        choice = self.decoder.choose(self._session, tools, required=required, added_N=added_N)
        is_first = messages[-1]["role"] == "user" and sum(one["role"] == "user" for one in messages) == 1
        if self.declining is None or required or not is_first or choice.tool in (FINISH, NO_TOOL):
            return choice
        sure = self.declining.calibration.confidence(self.decoder.evidence(self._session, tools, added_N=added_N))
        if sure >= self.declining.calibration.threshold(self.declining.rate):
            return choice
        return replace(choice, tool=NO_TOOL, probability=1 - sure)

    def _added_N(self, request: str | None, tools: Sequence[str] | None) -> npt.NDArray[np.floating] | None:
        """What is added to the logits of the catalog's tools, `tools` of which may be chosen, where they answer a request."""
        return None if self.added is None or request is None else self.added.scores_among(request, tools)

    def _shown(self, messages: Sequence[Message]) -> tuple[Sequence[Message], list[int]]:
        """What of the conversation the model is shown, and its token ids."""
        protocol, budget = self.decoder.protocol, int(SHOWN * self.checkpoint.context_length)
        ids = protocol.prompt(messages)
        if len(ids) <= budget:
            return messages, ids
        shown, _ = protocol.windows(messages, budget)[-1]
        return shown, protocol.prompt(shown)

    def _further(
        self,
        messages: Sequence[Message],
        first: Action,
        tools: Sequence[str] | None,
        tokens: int | None,
        given: Sequence[str],
        hearing: _Hearing,
    ) -> tuple[tuple[Action, ...], int]:
        """The calls that the model writes behind the first in the same message, and the tokens that it wrote. One that it
        repeats or does not complete is the end of it, and is not made."""
        from toolgen.decoding import ContextFullError

        made, written = [first], 0
        most = 1 + len(given) if given else MAX_CALLS
        must = bool(given) or (self.further_by_text and messages[-1]["role"] == "user")
        while len(made) < most:
            rest = None if given else self._unanswered(messages, made)
            if not self._says_more(rest):
                break
            left = None if tokens is None else tokens - first.tokens - written
            calls = [(one.tool, one.arguments, f"call_{place}") for place, one in enumerate(made)]
            before = [*messages, calls_message(calls, first.thought)]
            self._written = self._thought = 0
            try:
                self._session.sync(self.decoder.protocol.unfinished(before))
                added_N = self._added_N(rest, tools)
                choice = (
                    self.decoder.choose(self._session, tools, required=True, added_N=added_N)
                    if must
                    else self.decoder.choose_another(self._session, tools, added_N=added_N)
                )
                if choice is None:
                    break
                tool = given[len(made) - 1] if given else choice.tool
                arguments = self._arguments(tool, before, left, _DEAF)
            except ContextFullError:
                written += self._written
                break
            action = self._action(tool, "", choice, arguments)
            written += action.tokens
            if action.stuck or (not given and _is_repeated(action, made)):
                break
            hearing.chose(choice)
            hearing.begins(len(made), tool)
            hearing.wrote(len(made), tool, arguments)
            made.append(action)
        return tuple(made[1:]), written

    def _says_more(self, rest: str | None) -> bool:
        """Whether the rest of a request may ask for a further tool; None is no request."""
        if rest is None or self.further_by_text:
            return rest != ""
        return not self.only_said or len(self.checkpoint.tokenizer.encode(rest, add_special_tokens=False)) >= REST

    def _unanswered(self, messages: Sequence[Message], made: Sequence[Action] = ()) -> str | None:
        """What the calls that are made leave of the user's words; None where something else is answered."""
        last, calls = messages[-1], [one.arguments for one in made]
        if last["role"] != "user":
            return None
        return (further_ask if made and self.further_by_text else rest_of)(str(last["content"]), calls)

    def _think(self) -> str:
        ids = self.decoder.text(self._session)
        self._thought = len(ids)
        self._written += self._thought
        return str(self.checkpoint.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _arguments(self, tool: str, messages: Sequence[Message], tokens: int | None, hearing: _Hearing) -> Arguments:
        self._written += len(self.checkpoint.vocabulary.sequence(tool))
        if tool != NO_TOOL:
            self.decoder.begin_call(self._session, tool, messages)
        left = None if tokens is None else max(0, tokens - self._written)
        found = self.decoder.arguments(self._session, tool, tokens=left, on_text=hearing.while_written(tool))
        if not found.value or hearing.verbatim or not self.only_said:
            return found
        schema = self.decoder.protocol.arguments_schema(tool)
        said = without_unsaid(found.value, schema, text_of(messages))
        return found if said == found.value else replace(found, value=said, text=json.dumps(said, ensure_ascii=False))

    def _action(self, tool: str, thought: str, choice: ToolChoice, arguments: Arguments) -> Action:
        stuck: StuckReason = ""
        if arguments.value is None:
            stuck = "arguments_cut" if arguments.status == "cut" else "invalid_arguments"
        return Action(
            tool=tool,
            arguments=arguments.value or {},
            thought=thought,
            stuck=stuck,
            fault=arguments.fault,
            tokens=self._written + arguments.tokens,
            thought_tokens=self._thought,
            prompt_tokens=self._read,
            diagnostics=Diagnostics(
                tool=tool,
                probability=round(choice.probability, 4),
                tool_exists=choice.tool_exists,
                tool_allowed=choice.tool_allowed,
                arguments=arguments.status,
                argument_tokens=arguments.tokens,
                masked=arguments.masked,
                relaxed=arguments.relaxed,
            ),
        )


@dataclass(frozen=True)
class _Hearing:
    """Who hears of a step of the model, and when; see `GenerativePolicy.act`."""

    on_choice: OnChoice | None = None
    on_text: OnText | None = None
    verbatim: bool = False

    def chose(self, choice: ToolChoice) -> None:
        if self.on_choice:
            self.on_choice(choice)

    def begins(self, place: int, tool: str) -> None:
        if self.on_text:
            self.on_text(place, tool, "")

    def while_written(self, tool: str) -> Callable[[str], bool | None] | None:
        """Hears the arguments of the first action as they are written, where that is told."""
        streams = self.on_text and (self.verbatim or tool == FINISH)
        return partial(self.on_text, 0, tool) if self.on_text and streams else None

    def wrote(self, place: int, tool: str, arguments: Arguments) -> None:
        if self.on_text and not self.verbatim:
            self.on_text(place, tool, arguments.text)


_DEAF = _Hearing()


def _is_answered(messages: Sequence[Message], at_once: bool) -> bool:
    """Whether results stand last, and the calls of this turn, perhaps made `at_once`, are all that was asked for."""
    asked = next((str(one["content"]) for one in reversed(messages) if one["role"] == "user"), None)
    if asked is None or messages[-1]["role"] != "tool":
        return False
    return at_once or not further_ask(asked, [call.arguments for call in calls_by_turn(messages)[-1]])


def _is_repeated(action: Action, made: Sequence[Action]) -> bool:
    return any((one.tool, one.arguments) == (action.tool, action.arguments) for one in made)
