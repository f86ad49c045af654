"""Tools that are called over HTTP: their endpoints, as an OpenAPI description gives them, and the user's word on where to.

A catalog is data: what it says decides neither which hosts are asked nor what they are told. The user allows hosts and gives
headers for them, with secrets by the names of environment variables; they go over http:// only to private addresses, or where
the user himself names it. Redirects are not followed, answers are bounded in bytes and seconds, and only safe methods (RFC
9110, 9.2.1) are tried again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    PlainEnvironment,
    ToolResult,
    argument_fault,
    failed,
    no_answer,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.effects import SAFE_METHODS
from toolgen.catalog.http_request import HttpRequest, build_request, server_address
from toolgen.catalog.tool import Tool
from toolgen.errors import InputError, UsageError
from toolgen.foreign.web import MISFIT, Answer, exchange, fits_header, has_login, is_header_name, is_public, resolved

BUSY = frozenset({429, 502, 503, 504})
PAUSE_SECONDS = 1.0
LONGEST_PAUSE = 5.0
"""Before a second try, whatever Retry-After says."""
TEXT = ("text/", "application/json", "application/xml", "application/x-ndjson", "application/yaml")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Header:
    """What is sent to the hosts that fit the pattern; `${NAME}` in the value stands for an environment variable."""

    host: str
    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Header:
        """From `HOST: NAME: VALUE`; UsageError for anything else, and for a value that no header can hold."""
        host, _, rest = text.partition(": ")
        name, _, value = rest.partition(": ")
        if not (host.strip() and is_header_name(name.strip()) and value.strip()):
            raise UsageError(
                f"{text.partition('$')[0]!r} is no header; write HOST: NAME: VALUE, such as "
                "'api.example.com: Authorization: Bearer ${EXAMPLE_TOKEN}'"
            )
        if not fits_header(value.strip()):
            raise UsageError(f"the header {name.strip()} has {MISFIT}")
        return cls(host.strip().lower(), name.strip(), value.strip())

    def resolved(self, variables: Mapping[str, str]) -> str:
        """The value with its variables, without space around them; InputError names one that is not set or does not fit."""
        values = {name: variables.get(name, "").strip() for name in _VARIABLE.findall(self.value)}
        for name, value in values.items():
            if not value:
                raise InputError(f"the header {self.name} for {self.host} needs the environment variable {name}")
            if not fits_header(value):
                raise InputError(
                    f"the header {self.name} for {self.host} cannot hold the value of the environment variable {name}: "
                    f"it has {MISFIT}"
                )
        return _VARIABLE.sub(lambda found: values[found[1]], self.value)


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """`hosts` are patterns of the hosts that may be asked, `servers` the address by provider where a description names none or
    another one is meant. `private` lets allowed hosts be at private addresses; `read_only` refuses what is not a safe method.
    UsageError for a host, also of a header, with more than a host, and for a server with a user or password.
    """

    hosts: Sequence[str] = ()
    headers: Sequence[Header] = ()
    servers: Mapping[str, str] = field(default_factory=dict)
    private: bool = False
    read_only: bool = False
    max_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for pattern in (*self.hosts, *(one.host for one in self.headers)):
            _host_pattern(pattern)
        for provider, url in self.servers.items():
            if has_login(url):
                raise UsageError(
                    f"the server of {provider!r} has a user or password in its address, which is not sent; give the address "
                    "without it, and --header 'HOST: Authorization: Basic ${NAME}'"
                )

    def allows(self, host: str) -> bool:
        """Whether a host may be asked."""
        return any(fnmatch(host, _host_pattern(pattern)) for pattern in self.hosts)


class HttpEnvironment(PlainEnvironment):
    """Sends the calls of a catalog's HTTP tools; offers those whose host and method are allowed. `variables` are the
    environment's by default."""

    name = "http"

    def __init__(
        self,
        catalog: Catalog,
        options: HttpOptions,
        *,
        variables: Mapping[str, str] | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._tools = {tool.id: tool for tool in catalog if (tool.endpoint or {}).get("kind") == "http"}
        self._options, self._wait = options, wait
        self._variables = os.environ if variables is None else variables
        self._offered = tuple(tool_id for tool_id, tool in self._tools.items() if self._is_allowed(tool))

    @property
    def tools(self) -> tuple[str, ...]:
        return self._offered

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._tools:
            return not_available(tool_id, self.name)
        try:
            end = time.monotonic() + within
            request = self.request(tool_id, arguments)
            own = self._own_headers(request.url, self._tools[tool_id].provider, end)
            return _result(self._sent(request, own, end))
        except TimeoutError:
            return no_answer(within)
        except InputError as error:
            return failed(str(error))

    def request(self, tool_id: str, arguments: Mapping[str, Any]) -> HttpRequest:
        """The request of a call, without the user's headers; InputError for arguments that do not fit, or for a host or method
        that is not allowed."""
        tool = self._tools[tool_id]
        if fault := argument_fault(tool, arguments):
            raise InputError(fault)
        request = build_request(tool, dict(arguments), server=self._options.servers.get(tool.provider))
        self._check(request.url, request.method)
        return request

    def _check(self, url: str, method: str) -> None:
        host = _host(url)
        if not self._options.allows(host):
            raise InputError(f"the host {host!r} is not allowed; whoever runs this can allow it")
        if self._options.read_only and method.upper() not in SAFE_METHODS:
            raise InputError(f"{method} can change something, and only reading is allowed; it was not sent")

    def _is_allowed(self, tool: Tool) -> bool:
        try:
            self._check(
                server_address(tool, self._options.servers.get(tool.provider)), str((tool.endpoint or {})["method"])
            )
        except (InputError, KeyError, TypeError, ValueError):  # an endpoint is whatever a catalog's file says
            return False
        return True

    def _own_headers(self, url: str, provider: str, end: float) -> dict[str, str]:
        """The user's headers for an address; InputError if they could be read on the way there, unless he names it himself."""
        host = _host(url)
        own = [one for one in self._options.headers if fnmatch(host, _host_pattern(one.host))]
        in_clear = own and url.lower().startswith("http://") and not self._options.servers.get(provider)
        if in_clear and any(map(is_public, resolved(host, 0, max(0.1, end - time.monotonic())))):
            raise InputError(
                f"the catalog names {host} with http://, where others could read the header {own[0].name}; it was not asked; "
                "whoever runs this can give the provider's address (--server), with https:// where it has that"
            )
        return {one.name: one.resolved(self._variables) for one in own}

    def _sent(self, request: HttpRequest, own: Mapping[str, str], end: float) -> Answer:
        taken = {name.lower() for name in own}  # a credential wins over an argument of its name
        kept = {name: value for name, value in request.headers.items() if name.lower() not in taken}
        whole = replace(request, headers={**kept, **own})
        safe = request.method.upper() in SAFE_METHODS
        try:
            answer = self._once(whole, end)
        except InputError:
            if not safe or time.monotonic() + PAUSE_SECONDS >= end:
                raise
            self._wait(PAUSE_SECONDS)
            return self._once(whole, end)
        pause = _pause(answer)
        if safe and answer.status in BUSY and time.monotonic() + pause < end:
            self._wait(pause)
            return self._once(whole, end)
        return answer

    def _once(self, request: HttpRequest, end: float) -> Answer:
        left = end - time.monotonic()
        try:
            return exchange(
                request.method.upper(),
                request.full_url,
                request.headers,
                request.body,
                limit=self._options.max_bytes,
                trusted=self._options.private,
                seconds=max(0.1, left),
            )
        except InputError:
            if time.monotonic() >= end:
                raise TimeoutError from None
            raise


def _host(url: str) -> str:
    """The host of an address, as it is compared with patterns; nothing if it has none."""
    try:
        return (urlsplit(url).hostname or "").lower().removesuffix(".")
    except ValueError:
        return ""


def _host_pattern(text: str) -> str:
    """A pattern of hosts in the same form; UsageError if it is more than a host, and so would fit none."""
    pattern = text.strip().lower()
    if pattern.startswith("[") and pattern.endswith("]") and ":" in pattern:  # IPv6, as addresses have it
        pattern = pattern[1:-1]
    elif pattern.count(":") == 1 or "]:" in pattern or "/" in pattern:
        shown = pattern.rpartition("@")[2]
        raise UsageError(
            f"{shown!r} is more than a host; leave out scheme, port and path, such as api.example.com or *.example.com"
        )
    return pattern.removesuffix(".")


def _pause(answer: Answer) -> float:
    """Seconds before a second try: what the server asks for, within bounds."""
    asked = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
    return min(LONGEST_PAUSE, float(asked)) if asked.strip().isdigit() else PAUSE_SECONDS


def _result(answer: Answer) -> ToolResult:
    """An answer as the text that the model reads."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    readable = not kind or kind.startswith(TEXT) or kind.endswith(("+json", "+xml"))
    text = answer.data.decode("utf-8", "replace") if readable else f"{len(answer.data):,} bytes of {kind}"
    if 200 <= answer.status < 300:
        return ToolResult(content=text or f"HTTP {answer.status}, without content")
    if 300 <= answer.status < 400:
        text = f"the server points to {headers.get('location', 'nowhere')}, which was not followed"
    return failed(f"HTTP {answer.status}: {text}")
