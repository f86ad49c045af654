"""Addresses of this machine, for whoever listens at one. Knows no server."""

from __future__ import annotations

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""What only this machine reaches."""


def in_url(host: str) -> str:
    """An address as URLs and Host headers write it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
