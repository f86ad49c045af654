"""One exchange over HTTP, bounded in size and time: a download, or a call of a tool.

A place that the user names is fetched as it is. An address that a document names is foreign data: it is never one of a
private network, of this machine or of a link, whatever its name resolves to and wherever it redirects (the list of
attacks: OWASP, "Server Side Request Forgery Prevention"). Knows no format.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from toolgen.errors import InputError

TIMEOUT_SECONDS = 20.0  # of a download without a byte; for a connection to one address
DEADLINE_SECONDS = 120.0  # for the whole: all redirects, headers and bytes
MISFIT = "a control character or one beyond Latin-1"
"""What a value has that no header can hold."""
_CHUNK = 1 << 16
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_LOGIN = re.compile(r"[^/?#]*//[^/?#]*@")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")  # RFC 9110, 5.5, without the controls of Latin-1
T = TypeVar("T")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out: no fec0::/10, ::/96, 64:ff9b:1::/48
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: stands before the IPv4 address in the lower half


@dataclass(frozen=True)
class Download:
    """What a server answered, and the address that it came from after redirects."""

    data: bytes
    url: str


def is_url(place: str) -> bool:
    """Whether a place is an address that can be downloaded."""
    return place.lower().startswith(("http://", "https://"))


def shown_url(url: str) -> str:
    """An address without what may be secret in it: user, password, query, fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def has_login(url: str) -> bool:
    """Whether an address has a user or password in it, which is never sent."""
    return _LOGIN.match(url) is not None


def is_header_name(name: str) -> bool:
    """Whether a header can have this name."""
    return _HEADER_NAME.fullmatch(name) is not None


def fits_header(value: str) -> bool:
    """Whether a header can hold a value: no control character, none beyond Latin-1."""
    return _HEADER_VALUE.fullmatch(value) is not None


def check_headers(headers: Mapping[str, str]) -> None:
    """InputError for what cannot be sent. No value is shown, as libraries would: it may be a secret."""
    for name, value in headers.items():
        if not is_header_name(name):
            raise InputError(f"{name.partition(':')[0]!r} is no name of a header")
        if not fits_header(value):
            raise InputError(f"no header can hold the value of {name}: it has {MISFIT}")


@dataclass(frozen=True)
class Answer:
    """What a server answered to a request, whatever the status. A redirect is an answer; it is not followed."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def download(url: str, limit: int, *, trusted: bool) -> Download:
    """The document at an http(s) address, at most `limit` bytes.

    `trusted` says that the user named the address: its host may be anywhere and proxies of the environment are used, but
    a redirect to another host must lead to a public address. Otherwise every connection must. Each host is resolved once,
    and connections go to the addresses that were looked at. InputError in one line.
    """
    if not is_url(url):
        raise InputError(f"{shown_url(url)}: only http and https addresses are read")

    def get(deadline: _Deadline) -> Download:
        opener = _opener(trusted, deadline, redirects=True)
        try:
            with opener.open(_request(url), timeout=TIMEOUT_SECONDS) as got:
                return Download(_read(got, limit, url), str(got.geturl()))
        except urllib.error.HTTPError as error:
            error.close()
            raise InputError(f"{shown_url(url)}: the server answers {error.code}; check the address") from None

    return _in_time(url, DEADLINE_SECONDS, TIMEOUT_SECONDS, get)


def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    limit: int,
    trusted: bool,
    seconds: float = DEADLINE_SECONDS,
) -> Answer:
    """Sends one request and reads its answer, at most `limit` bytes unpacked, in at most `seconds`, all of which it may be
    silent; see `download` for `trusted`. InputError in one line where no answer came."""
    if not is_url(url):
        raise InputError(f"{shown_url(url)}: only http and https addresses are asked")
    check_headers(headers)

    def send(deadline: _Deadline) -> Answer:
        request = _request(url, method, headers, body)
        try:
            with _opener(trusted, deadline, redirects=False).open(request, timeout=deadline.timeout()) as got:
                return Answer(int(got.status), dict(got.headers.items()), _read(got, limit, url))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(int(error.code), dict(error.headers.items()), _read(error, limit, url))

    return _in_time(url, seconds, seconds, send)


def _in_time(url: str, seconds: float, idle: float, work: Callable[[_Deadline], T]) -> T:
    """What the work gives; InputError in one line for what goes wrong with a connection, and when the time is over."""
    reason: object = None
    with _Deadline(seconds, idle) as deadline:
        try:
            done = work(deadline)
        except InputError as error:
            reason = error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
        if deadline.passed:  # then a cut answer, and every other problem, follows from it
            raise InputError(f"{shown_url(url)} was still sending after {seconds:g} seconds")
    if reason is None:
        return done
    if isinstance(reason, InputError):
        raise reason from None
    raise InputError(f"cannot read {shown_url(url)}: {' '.join(str(reason).split())[:200]}")


def _opener(trusted: bool, deadline: _Deadline, *, redirects: bool) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()]
    handlers += [_Handler(_Route(trusted, deadline)), *([urllib.request.HTTPRedirectHandler()] if redirects else [])]
    for handler in [*handlers, *([urllib.request.ProxyHandler()] if trusted else [])]:
        opener.add_handler(handler)
    return opener


def _request(
    url: str, method: str = "GET", headers: Mapping[str, str] = MappingProxyType({}), body: bytes | None = None
) -> urllib.request.Request:
    own = {"User-Agent": "toolgen", "Accept-Encoding": "identity"}
    return urllib.request.Request(url, body, own | dict(headers), method=method)


def public_addresses(host: str, port: int, seconds: float = TIMEOUT_SECONDS) -> list[str]:
    """The addresses of a host; InputError if one of them is not public, so that none can be smuggled in between."""
    addresses = resolved(host, port, seconds)
    for address in addresses:
        if not is_public(address):
            raise InputError(f"{host!r} is at {address}, which is no public address; it was not asked")
    return addresses


def resolved(host: str, port: int, seconds: float = TIMEOUT_SECONDS) -> list[str]:
    """The addresses of a host; InputError if it has none, or none within `seconds`: the system's own look-up has no limit that
    can be set, so it is left to a thread."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look, daemon=True, name="toolgen look-up").start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise InputError(f"the name {host!r} was not resolved within {seconds:.3g} seconds") from None
    if isinstance(found, Exception):
        raise InputError(f"the name {host!r} cannot be resolved: {found}")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where an IPv6 address carries an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip.ipv4_mapped is not None:
        return is_public(str(ip.ipv4_mapped))
    carried = [ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64 or int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        carried.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    if any(inner is not None and not is_public(str(inner)) for inner in carried):
        return False
    return ip in _NAT64 or (ip in _GLOBAL_UNICAST and ip.is_global)


class Unpacking:
    """Takes the packing off an answer, piece by piece, and counts what comes out: 2 MB can hold 4 GB. InputError if it is
    packed as nobody asked for, or beyond `limit` bytes."""

    def __init__(self, packing: str, limit: int, url: str) -> None:
        packing = packing.strip().lower() or "identity"
        if packing not in ("identity", "gzip", "x-gzip", "deflate"):
            raise InputError(f"{shown_url(url)} sends its answer packed as {packing[:40]!r}, which was not asked for")
        self._unpack = None if packing == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._limit, self._url = limit, url
        self._size = 0

    def take(self, chunk: bytes) -> bytes:
        """What a piece holds."""
        if self._unpack is not None:
            try:
                chunk = self._unpack.decompress(chunk, self._limit - self._size + 1)
            except zlib.error as error:
                raise InputError(f"{shown_url(self._url)}: its answer cannot be unpacked: {error}") from None
        self._size += len(chunk)
        if self._size > self._limit:
            raise InputError(f"{shown_url(self._url)} sends more than {self._limit >> 20} MB; nothing was read")
        return chunk

    def end(self) -> None:
        """InputError if the answer was cut off."""
        if self._unpack is not None and not self._unpack.eof:
            raise InputError(f"{shown_url(self._url)}: its packed answer has no end")


def _read(response: Any, limit: int, url: str) -> bytes:
    """The body without its packing; a server that sends too much, packed or not, is left."""
    unpacking = Unpacking(str(response.headers.get("Content-Encoding") or ""), limit, url)
    chunks: list[bytes] = []
    while chunk := response.read1(_CHUNK):
        chunks.append(unpacking.take(chunk))
    unpacking.end()
    return b"".join(chunks)


class _Deadline:
    """Ends the connection that it watches when the time is over: a server can send a header a byte at a time."""

    def __init__(self, seconds: float, idle: float) -> None:
        self.passed = False
        self._idle = idle
        self._end = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._socket = None

    def timeout(self) -> float:
        """How long one step may wait."""
        return max(0.01, min(self._idle, self._end - time.monotonic()))

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection
        connection.settimeout(self._idle)
        if self.passed:
            self._cut()

    def _cut(self) -> None:
        self.passed = True
        if (connection := self._socket) is not None:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)


class _Route:
    """Where the connections of one download may go, and where they went."""

    def __init__(self, trusted: bool, deadline: _Deadline) -> None:
        self._trusted, self._deadline = trusted, deadline
        self._addresses: dict[str, list[str]] = {}
        self._behind_proxy: str | None = None

    def check(self, host: str, port: int) -> list[str]:
        """The addresses of a host. Only the first host of a trusted download may be anywhere."""
        if host not in self._addresses:
            own = self._trusted and not self._addresses
            look = resolved if own else public_addresses
            self._addresses[host] = look(host, port, self._deadline.timeout())
        return self._addresses[host]

    def check_behind_proxy(self, host: str, port: int) -> None:
        """InputError unless a proxy may be asked for a host; the first may have a name that only the proxy knows."""
        if self._behind_proxy is None:
            self._behind_proxy = host
        elif host != self._behind_proxy:
            public_addresses(host, port, self._deadline.timeout())

    def watch(self, connection: socket.socket) -> None:
        """Leaves a connection to the deadline."""
        self._deadline.watch(connection)

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the addresses that were checked, not to a name that could resolve otherwise now."""
        problem: OSError | None = None
        for address in self.check(host, port):
            try:
                seconds = min(TIMEOUT_SECONDS, self._deadline.timeout())
                connection = socket.create_connection((address, port), seconds)
            except OSError as error:
                problem = error
                continue
            self.watch(connection)
            return connection
        raise problem or OSError("the name has no address")


class _HTTPConnection(http.client.HTTPConnection):
    def __init__(self, host: str, *, route: _Route, **options: Any) -> None:
        super().__init__(host, **options)
        self._route = route

    def connect(self) -> None:
        self.sock = self._route.connect(self.host, self.port)
        if getattr(self, "_tunnel_host", None):
            self._tunnel()  # type: ignore[attr-defined]


class _HTTPSConnection(_HTTPConnection):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        name = getattr(self, "_tunnel_host", None) or self.host
        secure = ssl.create_default_context().wrap_socket(
            self.sock, server_hostname=name, do_handshake_on_connect=False
        )
        self.sock = secure
        self._route.watch(secure)
        secure.do_handshake()


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Connects as the route says. A proxy of the user's environment resolves names itself; they are checked before."""

    def __init__(self, route: _Route) -> None:
        super().__init__()
        self._route = route

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_HTTPConnection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_HTTPSConnection, req)

    def _open(self, kind: Any, req: urllib.request.Request) -> http.client.HTTPResponse:
        target = urlsplit(req.full_url)
        if has_login(req.full_url):
            raise InputError(
                f"{shown_url(req.full_url)} was given with a user or password, which is not sent; leave it out"
            )
        if req.host != target.netloc:
            self._route.check_behind_proxy(str(target.hostname), target.port or kind.default_port)
        return self.do_open(partial(kind, route=self._route), req)
