"""Downloads of one document over HTTP, bounded in size and time.

A place that the user names is fetched as it is. An address that a document names is foreign data: it is never one of a
private network, of this machine or of a link, whatever its name resolves to and wherever it redirects (the list of
attacks: OWASP, "Server Side Request Forgery Prevention"). Knows no format.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from toolgen.errors import InputError

TIMEOUT_SECONDS = 20.0  # without a byte
DEADLINE_SECONDS = 120.0  # for the whole
_CHUNK = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


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


def download(url: str, limit: int, *, trusted: bool) -> Download:
    """The document at an http(s) address, at most `limit` bytes.

    `trusted` says that the user named the address: its host may be anywhere and proxies of the environment are used, but
    a redirect to another host must lead to a public address. Otherwise every connection must. InputError in one line.
    """
    if not is_url(url):
        raise InputError(f"{shown_url(url)}: only http and https addresses are read")
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor()]
    if trusted:
        handlers += [urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()]
        handlers += [_RedirectsToPublicHosts()]
    else:
        handlers += [_PublicHTTPHandler(), _PublicHTTPSHandler(), urllib.request.HTTPRedirectHandler()]
    for handler in handlers:
        opener.add_handler(handler)
    try:
        with opener.open(
            urllib.request.Request(url, headers={"User-Agent": "toolgen"}), timeout=TIMEOUT_SECONDS
        ) as got:
            return Download(_read(got, limit, url), str(got.geturl()))
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(f"{shown_url(url)}: the server answers {error.code}; check the address") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, InputError):
            raise reason from None
        raise InputError(f"cannot read {shown_url(url)}: {' '.join(str(reason).split())[:200]}") from None


def public_addresses(host: str, port: int) -> list[str]:
    """The addresses of a host; InputError if one of them is not public, so that none can be smuggled in between."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(f"the name {host!r} cannot be resolved: {error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_public(address):
            raise InputError(f"{host!r} is at {address}, which is no public address; it was not asked")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where an IPv6 address carries an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        carried = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            carried.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(inner is not None and not is_public(str(inner)) for inner in carried):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


def _read(response: Any, limit: int, url: str) -> bytes:
    """The body; a server that sends too much, or for too long, is left."""
    chunks, size, end = [], 0, time.monotonic() + DEADLINE_SECONDS
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise InputError(f"{shown_url(url)} sends more than {limit >> 20} MB; nothing was read")
        if time.monotonic() > end:
            raise InputError(f"{shown_url(url)} was still sending after {DEADLINE_SECONDS:.0f} seconds")
    return b"".join(chunks)


def _connect_publicly(connection: http.client.HTTPConnection) -> None:
    """Connects to an address that was checked, not to a name that could resolve otherwise the second time."""
    problem: OSError | None = None
    for address in public_addresses(connection.host, connection.port):
        try:
            connection.sock = socket.create_connection((address, connection.port), TIMEOUT_SECONDS)
            return
        except OSError as error:
            problem = error
    raise problem or OSError("the name has no address")


class _PublicHTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        _connect_publicly(self)


class _PublicHTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        import ssl

        _connect_publicly(self)
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


class _PublicHTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPConnection, req)


class _PublicHTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPSConnection, req)


class _RedirectsToPublicHosts(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = urlsplit(newurl)
        if not is_url(newurl):
            raise InputError(f"{shown_url(req.full_url)} redirects to {shown_url(newurl)}, which is not http(s)")
        if new.hostname and new.hostname != urlsplit(req.full_url).hostname:
            public_addresses(new.hostname, new.port or (443 if new.scheme == "https" else 80))
        return super().redirect_request(req, fp, code, msg, headers, newurl)
