"""Defaults that look like secrets are told from others, and do not get into a schema."""

from __future__ import annotations

import time
from typing import Any

import pytest

from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.secrets import looks_secret, looks_secret_option

STRIPE = "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc"  # in pieces, so that nobody's scanner takes it for one
GITHUB = "gh" + "p_" + "0123456789abcdefghijABCDEFGHIJ012345"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter22"),
        ("X-Api-Key", "7d5c9b0e1f"),
        ("apiKey", "abcdef123"),
        ("client_secret", "s3cr3ts3cr3t"),
        ("Authorization", "abcdef0123"),
        ("q", STRIPE),
        ("q", GITHUB),
        ("q", "AK" + "IA" + "IOSFODNN7EXAMPLE"),
        ("q", "Bearer abcdefgh12345678"),
        ("q", "postgres://me:pass1@db.example/x"),
        ("q", "mongodb+srv://me:pass1@db.example/x"),
        ("q", "redis://:pass1@db.example:6379"),
        ("q", "at postgres://me:pa/ss@db.example"),
        ("authtoken", "abcdef0123"),
        ("secret_key", "abcdef0123"),
        ("q", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
        ("key", "0123456789abcdef0123"),
        ("options", {"login": {"password": "hunter22"}}),
        ("tokens", ["x", GITHUB]),
    ],
)
def test_secrets_are_seen(name: str, value: Any) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", "weather in Oslo"),
        ("token_type", "Bearer"),
        ("sort_key", "created_at"),
        ("password", ""),
        ("password", "your password here"),
        ("max_tokens", 4096),
        ("token", None),
        ("id", "0b9e3cf2-7d1c-4f7a-9c43-f5b1f52b7a55"),
        ("url", "https://example.org/a?b=c"),
        ("url", "http://localhost:8080/@scope/name"),
        ("key", "name"),
    ],
)
def test_other_values_are_not(name: str, value: Any) -> None:
    assert not looks_secret(name, value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("password", "x1"),
        ("pass", "two words"),
        ("config", '{"apiKey": "x1"}'),
        ("config", '"{\\"login\\": {\\"apiKey\\":\\"x1\\"}}"'),
        ("config", "eyJhcGlLZXkiOiJ4MSJ9"),
        ("db", "Server=h;User=sa;Password=x1"),
        ("c", "export API_KEY='x1' && npx server"),
        ("c", "server --token x1"),
        ("c", "curl -H 'Authorization: basic x1' -H 'X: y'"),
        ("c", "PGPASSWORD=x1 psql"),
        ("u", "me:x1"),
        ("from", "git+https://x1@host.example/repo"),
    ],
)
def test_secrets_are_seen_in_what_options_are_given(option: str, value: str) -> None:
    assert looks_secret_option(option, value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("password", ""),
        ("u", "1000:1000"),
        ("user", "me"),
        ("config", '{"port": 8080, "apiKey": null, "url": "https://host.example/a"}'),
        ("c", "npx -y server --max-tokens 100 --port=8080 | tee /tmp/log"),
        ("c", 'curl -H "Authorization: Bearer "'),  # a variable stood there
        ("mount", "type=bind,src=/a,dst=/b"),
        ("from", "git+https://host.example/repo@v1"),
        ("dir", "C:\\Users\\me"),
        ("", "@scope/server@1.2.3"),
    ],
)
def test_other_arguments_are_not(option: str, value: str) -> None:
    assert not looks_secret_option(option, value)


@pytest.mark.parametrize("text", ["a", "a=", "a:", "://", "x://a:", "a-", "-a ", 'a"', "Bearer ", "eyJ"])
def test_long_texts_are_looked_through_in_time(text: str) -> None:
    begin = time.monotonic()
    looks_secret_option("q", text * 20_000)
    assert time.monotonic() - begin < 5


def test_a_schema_keeps_other_defaults_and_says_what_it_left_out() -> None:
    foreign = {
        "properties": {
            "api_key": {"type": "string", "default": "abcdef123456", "description": "Yours"},
            "deep": {"type": "object", "properties": {"password": {"examples": ["hunter22"]}, "n": {"default": 3}}},
            "list": {"type": "array", "items": {"default": GITHUB}},
        }
    }
    notes: list[str] = []
    properties = normalize_schema(foreign, on_note=notes.append)["properties"]
    assert properties["api_key"] == {"type": "string", "description": "Yours"}
    assert properties["deep"]["properties"] == {"password": {}, "n": {"default": 3}}
    assert properties["list"]["items"] == {}
    assert len(notes) == 3 and not any(secret in note for note in notes for secret in ("abcdef", "hunter", GITHUB))
