"""Downloads are bounded, and what a document names is never at a private address."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.loopback import QuietHandler, serving

from toolgen.errors import InputError
from toolgen.foreign import web
from toolgen.foreign.web import download, exchange, is_public, public_addresses, shown_url


class Handler(QuietHandler):
    """/doc answers, /silent later, /to/URL redirects there, /big never stops, /stop breaks off, /slow-... takes its time."""

    def do_GET(self) -> None:
        self.path = self.path.removeprefix("http://only-the-proxy-knows.example")  # what a proxy is asked
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path in ("/doc", "/silent"):
            time.sleep(0.3 if self.path == "/silent" else 0)
            with suppress(OSError):  # the client has gone
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello")
        elif self.path in ("/big", "/stop"):
            self.send_response(200)
            self.send_header("Content-Length", str(10**9))
            self.end_headers()
            self.wfile.write(b"x" * (1 << 20 if self.path == "/big" else 10))
        elif self.path.endswith("packed"):
            self.send_response(200)
            self.send_header("Content-Encoding", "br" if self.path == "/otherwise-packed" else "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(b"x" * 2000) if self.path == "/packed" else b"no gzip at all")
        elif self.path.startswith("/slow"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if self.path == "/slow-body" else b"X: "))
            for _ in range(60):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    break
                time.sleep(0.05)
        else:
            self.send_error(404)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on this machine."""
    with serving(Handler) as address:
        yield address


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_looking_up_a_name_is_under_the_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own look-up waits for a name server for as long as it is set to."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"slow\.example.* (was not resolved|was still sending)"):
        exchange("GET", "http://slow.example/x", {}, None, limit=10, trusted=False, seconds=0.3)
    with pytest.raises(InputError, match=r"'slow\.example' was not resolved within 0\.2 seconds"):
        public_addresses("slow.example", 80, seconds=0.2)
    assert time.monotonic() - begin < 5
    over.set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::1", False),
        ("64:ff9b:1:ffff::808:808", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::", False),
        ("ff02::1", False),
        ("100::1", False),
        ("2001:db8::1", False),
        ("5f00::1", False),
        ("2606:4700::5efe:127.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_kind: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(InputError, match=r"'rebind\.example' is at 10\.0\.0\.1, which is no public address"):
        public_addresses("rebind.example", 80)


def test_the_users_own_address_may_be_on_this_machine(server: str) -> None:
    got = download(f"{server}/doc", 100, trusted=True)
    assert (got.data, got.url) == (b"hello", f"{server}/doc")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
def test_an_address_in_a_document_never_leads_to_this_machine(server: str, host: str) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(InputError, match=r"no public address|cannot be resolved"):
        download(f"http://{host}:{port}/doc", 100, trusted=False)


def test_redirects_to_private_addresses_are_refused_even_for_the_users_own(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert download(f"{server}/to/{server}/doc", 100, trusted=True).data == b"hello"
    port = server.rpartition(":")[2]
    with pytest.raises(InputError, match="no public address"):
        download(f"{server}/to/http://localhost:{port}/doc", 100, trusted=True)
    with pytest.raises(InputError, match="answers 302"):
        download(f"{server}/to/file:///etc/passwd", 100, trusted=True)


def as_if_public(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Takes this machine's address for a public one where it belongs to these names; returns what gets resolved."""
    asked: list[str] = []
    resolve, is_public = socket.getaddrinfo, web.is_public

    def resolving(host: str, port: int, *more: Any, **kind: Any) -> list[Any]:
        asked.append(host)
        if host in names:
            first = asked.count(host) == 1
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if first else "127.0.0.2", port))]
        return list(resolve(host, port, *more, **kind))

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    monkeypatch.setattr(web, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    return asked


@pytest.mark.parametrize("trusted", [True, False])
def test_a_host_is_resolved_once_and_redirects_to_others_must_be_public(
    server: str, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    asked = as_if_public(monkeypatch, "a.example", "b.example")
    port = server.rpartition(":")[2]
    chain = f"http://a.example:{port}/to/http://b.example:{port}/to/http://a.example:{port}/doc"
    assert download(chain, 100, trusted=trusted).data == b"hello"
    assert [name for name in asked if name.endswith(".example")] == ["a.example", "b.example"]
    for private in (f"http://[::1]:{port}/doc", f"http://127.0.0.3:{port}/doc"):
        with pytest.raises(InputError, match="no public address"):
            download(f"{server}/to/{private}", 100, trusted=trusted)


def test_a_redirect_behind_a_proxy_leads_to_public_hosts_only(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server)
    assert download("http://only-the-proxy-knows.example/doc", 100, trusted=True).data == b"hello"
    with pytest.raises(InputError, match=r"'10\.0\.0\.1' is at 10\.0\.0\.1, which is no public address"):
        download("http://only-the-proxy-knows.example/to/http://10.0.0.1/doc", 100, trusted=True)


@pytest.mark.parametrize("place", ["/slow-header", "/slow-body"])
def test_the_deadline_holds_for_headers_and_body(server: str, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(InputError, match="was still sending after"):
        download(f"{server}{place}", 1000, trusted=True)
    assert time.monotonic() - start < 1.5


def test_packed_answers_are_counted_unpacked(server: str) -> None:
    assert download(f"{server}/packed", 2000, trusted=True).data == b"x" * 2000
    with pytest.raises(InputError, match="sends more than"):
        download(f"{server}/packed", 1999, trusted=True)
    with pytest.raises(InputError, match="cannot be unpacked"):
        download(f"{server}/badly-packed", 100, trusted=True)
    with pytest.raises(InputError, match="packed as 'br'"):
        download(f"{server}/otherwise-packed", 100, trusted=True)


def test_too_much_too_little_and_errors_are_one_line(server: str) -> None:
    with pytest.raises(InputError, match="sends more than"):
        download(f"{server}/big", 1000, trusted=True)
    with pytest.raises(InputError, match="answers 404"):
        download(f"{server}/missing", 1000, trusted=True)
    with pytest.raises(InputError, match="only http and https"):
        download("ftp://example.org/x", 1000, trusted=True)
    with pytest.raises(InputError, match=r"cannot read http://127\.0\.0\.1:1/"):
        download("http://127.0.0.1:1/", 1000, trusted=True)


def test_a_request_may_be_silent_for_all_of_its_time_and_a_download_may_not(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.1)
    assert exchange("GET", f"{server}/silent", {}, None, limit=10, trusted=True, seconds=20).status == 200
    with pytest.raises(InputError, match=r"timed out|was not resolved"):
        download(f"{server}/silent", 10, trusted=True)
    with pytest.raises(InputError, match=r"after 0\.1 seconds"):
        exchange("GET", f"{server}/silent", {}, None, limit=10, trusted=True, seconds=0.1)


@pytest.mark.parametrize("value", ["s3cret\r", "s3cret\r\nX: 1", "s3\x00cret", "s3cret\u2019", "s3cret\x85x"])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(value: str) -> None:
    with pytest.raises(InputError, match="hold the value of X-Key: it has a control character") as raised:
        exchange("GET", "http://127.0.0.1:9/", {"X-Key": value}, None, limit=10, trusted=True)
    assert "cret" not in str(raised.value)
    with pytest.raises(InputError, match="'X-Key ' is no name of a header"):
        exchange("GET", "http://127.0.0.1:9/", {"X-Key : s3cret": "x"}, None, limit=10, trusted=True)


@pytest.mark.parametrize("login", ["me:s3cret", "me", "", r"a.example\me:s3cret"])
def test_an_address_with_a_user_or_password_is_refused_without_showing_it(server: str, login: str) -> None:
    host = server.removeprefix("http://")
    for url in (f"http://{login}@{host}/doc", f"{server}/to/http://{login}@{host}/doc"):
        with pytest.raises(InputError, match="a user or password, which is not sent") as raised:
            download(url, 100, trusted=True)
        assert "s3cret" not in str(raised.value)
    with pytest.raises(InputError, match="a user or password, which is not sent") as raised:
        exchange("GET", f"http://{login}@{host}/doc", {}, None, limit=10, trusted=True)
    assert "s3cret" not in str(raised.value)


def test_what_may_be_secret_in_an_address_is_not_shown() -> None:
    assert shown_url("https://me:secret@example.org/a.json?key=1#x") == "https://example.org/a.json"
    assert shown_url("http://[broken") == "an address that cannot be read"
