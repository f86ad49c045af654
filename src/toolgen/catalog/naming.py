"""The only place where a name is cleaned: tool ids, tool tokens and wire names.

Three names a tool: its canonical id (`provider&&name`, any Unicode), its token (`<<provider&&name>>`, readable, safe to
add to a tokenizer) and its wire name (at most 64 of `A-Za-z0-9_-`, what OpenAI-compatible protocols accept). Knows no
tokenizer and no protocol.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import ID_SEPARATOR, Tool
from toolgen.errors import CatalogError

TOKEN_OPEN, TOKEN_CLOSE = "<<", ">>"
TOKEN_PART_LIMIT = 96  # characters of the provider and of the name in a token; ids are never cut
WIRE_LIMIT = 64  # OpenAI and MCP clients refuse longer function names
WIRE_HASH_DIGITS = 10
TOKEN_HASH_DIGITS = 6

# Separators, controls, invisible format characters, lone surrogates and unassigned code points: a tokenizer strips,
# splits or cannot encode them. Besides: angle brackets end a token, and ▁ is how Unigram tokenizers write a space.
_UNSAFE_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"})

# A byte-level tokenizer (GPT-2's, Llama 3's, Qwen's) decodes a token made only of the letters that stand for bytes, which
# include é and ß, as these bytes: `café` would come back broken. One other character, invisible, makes it plain text.
_FIRST_BEYOND_BYTE_LETTERS = "\u0144"
_GRAPHEME_JOINER = "\u034f"


@dataclass(frozen=True)
class UniqueIds:
    """Ids in the given order, no two equal; `renamed` lists (given id, id it became) of each collision."""

    ids: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]


def tool_id(provider: str, name: str) -> str:
    """The canonical id `provider&&name`; the name alone where there is no provider."""
    return f"{provider}{ID_SEPARATOR}{name}" if provider else name


def prefixed_id(tool: Tool, prefix: str) -> tuple[str, str]:
    """Provider and id of a tool whose provider gets a prefix; the prefix is the provider of a tool that has none."""
    if tool.provider:
        return prefix + tool.provider, prefix + tool.id
    provider = prefix.rstrip(" .:/_-") or prefix
    return provider, tool_id(provider, tool.id)


def unique_ids(ids: Iterable[str], taken: Collection[str] = ()) -> UniqueIds:
    """Makes ids unique by a counting suffix: the second `a&&b` becomes `a&&b#2`. Ids in `taken` are never given out."""
    used, result, renamed = set(taken), [], []
    counts: dict[str, int] = {}  # where the search for a free suffix goes on: a name can occur 100,000 times
    for given in ids:
        candidate = given
        while candidate in used:
            counts[given] = counts.get(given, 1) + 1
            candidate = f"{given}#{counts[given]}"
        used.add(candidate)
        result.append(candidate)
        if candidate != given:
            renamed.append((given, candidate))
    return UniqueIds(tuple(result), tuple(renamed))


def clean_part(text: str) -> str:
    """One half of a token: NFC, each run of unsafe characters an underscore, no angle brackets, never empty, cut to
    TOKEN_PART_LIMIT characters."""
    composed = unicodedata.normalize("NFC", text)
    safe = "".join("_" if _is_unsafe(character) else character for character in composed)
    return re.sub(r"_{2,}", "_", safe)[:TOKEN_PART_LIMIT].strip("_") or "_"


def token_for(tool: Tool) -> str:
    """The readable token of one tool, `<<provider&&name>>`. Two tools can share it: see `assign_tokens`."""
    text = ID_SEPARATOR.join(clean_part(part) for part in (tool.provider, tool.name) if part)
    looks_like_bytes = not text.isascii() and max(text) < _FIRST_BEYOND_BYTE_LETTERS
    return f"{TOKEN_OPEN}{text}{_GRAPHEME_JOINER if looks_like_bytes else ''}{TOKEN_CLOSE}"


def token_collisions(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """The tokens that more than one tool would get, with the ids of these tools: what `assign_tokens` resolves."""
    owners: dict[str, list[str]] = {}
    for tool in catalog:
        owners.setdefault(token_for(tool), []).append(tool.id)
    return {token: tuple(ids) for token, ids in owners.items() if len(ids) > 1}


def assign_tokens(catalog: Catalog) -> dict[str, str]:
    """Tool id to its token, no two equal.

    All tools of a collision get a short hash of their id (`<<provider&&name#1a2b3c>>`), so that a token does not depend
    on the order of the catalog.
    """
    wanted = {tool.id: token_for(tool) for tool in catalog}
    counts = Counter(wanted.values())
    tokens = {tool_id: token for tool_id, token in wanted.items() if counts[token] == 1}
    used = set(tokens.values())
    for tool_id in sorted(wanted.keys() - tokens.keys()):
        tokens[tool_id] = _hashed_token(catalog.get(tool_id), used)
        used.add(tokens[tool_id])
    return {tool_id: tokens[tool_id] for tool_id in wanted}


def wire_name(tool: Tool) -> str:
    """The name of a tool in protocols that allow at most 64 of `A-Za-z0-9_-`: a slug of provider and name and a short
    hash of the id, which keeps different ids apart. `wire_names` leads back to the id."""
    ascii_text = unicodedata.normalize("NFKD", f"{tool.provider}_{tool.name}").encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", ascii_text)[: WIRE_LIMIT - 1 - WIRE_HASH_DIGITS].strip("_-")
    return f"{slug or 'tool'}_{_digest(tool.id)[:WIRE_HASH_DIGITS]}"


def wire_names(catalog: Catalog) -> dict[str, str]:
    """Wire name to tool id for a whole catalog. CatalogError if two ids share one (slug and 40-bit hash agree)."""
    names: dict[str, str] = {}
    for tool in catalog:
        name = wire_name(tool)
        if name in names:
            raise CatalogError(
                f"tools {names[name]!r} and {tool.id!r} share the wire name {name!r}; rename one of them"
            )
        names[name] = tool.id
    return names


def _is_unsafe(character: str) -> bool:
    return character in "<>_▁" or unicodedata.category(character) in _UNSAFE_CATEGORIES


def _hashed_token(tool: Tool, used: Collection[str]) -> str:
    plain, digest = token_for(tool)[: -len(TOKEN_CLOSE)], _digest(tool.id)
    for digits in range(TOKEN_HASH_DIGITS, len(digest) + 1):
        token = f"{plain}#{digest[:digits]}{TOKEN_CLOSE}"
        if token not in used:
            return token
    raise CatalogError(f"no token left for tool {tool.id!r}; rename it")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
