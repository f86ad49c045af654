"""Plausible argument values for a tool: from its enumerations, defaults and examples, else from names and types.

A value is only ever a guess at what somebody could ask for; whether it fits the schema is checked by who uses it. Faker and the
generators of JSON Schema samples (jsf, hypothesis-jsonschema) do not fit: the former knows kinds of values but not which kind a
parameter called `departure_city` or documented as "e.g. 'F#'" wants, the latter fill texts with random letters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from toolgen.catalog.tool import Tool

MAX_DEPTH = 4  # of nested objects and arrays that are filled

# A hint is the end of a parameter's name, in words. Earlier ones win.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"e ?mail( address)?", ("anna.meyer@example.com", "j.ortiz@example.org", "support@example.com")),
    (r"(phone|mobile|phone number|telephone)", ("+1 202 555 0143", "+44 20 7946 0958")),
    (r"(url|uri|link|website|webpage|homepage)", ("https://example.com", "https://www.example.org/news")),
    (r"(ip|ip address|host ip)", ("192.0.2.17", "198.51.100.4")),
    (r"(domain|hostname|host)", ("example.com", "shop.example.org")),
    (r"(start|begin|from|check in|departure|pickup) date", ("2024-05-03", "2024-06-12", "2024-09-01")),
    (r"(end|to|until|check out|return|due|dropoff) date", ("2024-10-21", "2024-11-30", "2024-12-15")),
    (r"(date|day|birthday|birthdate|birth date)", ("2024-03-15", "2024-07-04", "2023-11-20")),
    (r"(date ?time|timestamp|created at|updated at)", ("2024-03-15T09:30:00", "2024-07-04T18:00:00")),
    (r"(start|end)? ?time", ("09:30", "18:00", "14:15")),
    (r"(time ?zone|tz)", ("Europe/Berlin", "America/New_York", "Asia/Tokyo")),
    (r"(year)", ("2021", "2023")),
    (r"(month)", ("March", "October")),
    (r"(origin|from|source|departure|start)( city| location)?", ("Boston", "Munich", "Seattle")),
    (r"(destination|to|arrival)( city| location)?", ("Lisbon", "Denver", "Osaka")),
    (r"(city|location|place|town|city name|address|area|region)", ("Paris", "Chicago", "Tokyo", "Berlin", "San Diego")),
    (r"(country|nation|country name)", ("Canada", "Japan", "Brazil", "France")),
    (r"country code", ("US", "DE", "JP")),
    (r"(state|province)", ("California", "Texas", "Oregon")),
    (r"(zip|zip ?code|postal code|postcode)", ("94105", "10001", "60614")),
    (r"(target|to) (language|lang)", ("French", "Japanese", "Italian")),
    (r"(language|lang|locale)", ("English", "Spanish", "German")),
    (r"(currency|base|from currency|currency code)", ("USD", "EUR", "GBP")),
    (r"(ticker|symbol|stock|stock name|stock symbol)", ("AAPL", "MSFT", "NVDA")),
    (r"(company|company name|organization|employer)", ("Siemens", "Apple", "Toyota")),
    (r"(first name)", ("Anna", "David", "Mia")),
    (r"(last name|surname)", ("Meyer", "Ortiz", "Chen")),
    (r"(user ?name|login|handle|screen name)", ("annameyer", "jortiz", "mia_chen")),
    (
        r"(person|author|customer|patient|actor|artist|employee|contact|student|player|recipient)",
        ("Anna Meyer", "David Ortiz", "Mia Chen"),
    ),
    (r"(password|passwd)", ("correct-horse-9",)),
    (r"(token|api key|key|secret)", ("k3y-58a1f0", "k3y-97cc2e")),
    (r"(file|file ?name|file ?path|path|input file)", ("report.csv", "notes.txt", "data/sales.csv")),
    (r"(folder|directory|dir|output dir|directory path)", ("documents", "/home/anna/projects")),
    (r"(title|subject|heading)", ("Quarterly review", "Summer plans")),
    (
        r"(message|text|content|body|comment|sentence|description|note)",
        ("See you at noon tomorrow", "The meeting moved to Friday"),
    ),
    (
        r"(query|keyword|keywords|search|search query|search term|topic|question|prompt)",
        ("electric cars", "climate change", "jazz concerts"),
    ),
    (r"(color|colour)", ("blue", "red", "dark green")),
    (r"(food|dish|recipe|meal|ingredient)", ("lasagna", "chicken curry")),
    (r"(movie|film|movie name|movie title)", ("Inception", "Casablanca")),
    (r"(song|track|song name)", ("Imagine", "Yesterday")),
    (r"(book|book title)", ("Dune", "Emma")),
    (r"(team|team name|club)", ("Lakers", "Liverpool", "Bayern Munich")),
    (r"(sport)", ("basketball", "tennis")),
    (r"(gender|sex)", ("female", "male")),
    (r"(species|animal|pet)", ("dog", "gray wolf")),
    (r"(unit|units)", ("meters", "kilograms")),
    (r"(equation|function|expression|formula)", ("x**2 + 3*x", "2*x**3 - 5")),
    (r"(command|cmd)", ("ls -l", "df -h")),
    (r"(version)", ("1.4.2", "2.0")),
    (r"(model)", ("Corolla", "Model 3")),
    (r"(brand|make|manufacturer)", ("Toyota", "Bosch")),
    (r"(id|ids|identifier|uuid|code|number|no|ref)", ("48213", "A1093", "72650")),
)
_TEXT_HINTS = tuple((re.compile(rf"(?:^|.* )(?:{pattern})"), values) for pattern, values in _TEXTS)

_FORMATS: Mapping[str, tuple[str, ...]] = {
    "date": ("2024-03-15", "2024-07-04"),
    "date-time": ("2024-03-15T09:30:00Z", "2024-07-04T18:00:00Z"),
    "time": ("09:30:00Z", "18:00:00Z"),
    "email": ("anna.meyer@example.com",),
    "uri": ("https://example.com",),
    "uuid": ("3f2b8c1e-5d47-4a90-9b6e-1c2d3e4f5a6b",),
    "ipv4": ("192.0.2.17",),
    "hostname": ("example.com",),
}

_NUMBERS: tuple[tuple[str, tuple[float, ...]], ...] = (
    (r"year", (2019, 2021, 2023)),
    (r"month", (3, 7, 10)),
    (r"day|days", (5, 7, 14)),
    (r"hours?", (2, 6, 8)),
    (r"(lat|latitude)", (48.85, 40.71, 35.68)),
    (r"(lon|lng|long|longitude)", (2.35, -74.0, 139.69)),
    (r"(age)", (27, 34, 52)),
    (r"(rate|interest|probability|ratio|frequency|fraction|confidence|percentage)", (0.05, 0.2, 0.35)),
    (r"(price|amount|cost|salary|income|budget|investment|principal|loan|value)", (1200, 2500, 5000)),
    (r"(id|number|zip|code)", (48213, 1093, 7265)),
    (r"(limit|count|quantity|num|size|page|n|k|guests|people|rooms)", (2, 3, 10)),
)
_NUMBER_HINTS = tuple((re.compile(rf"(?:^|.* )(?:{pattern})"), values) for pattern, values in _NUMBERS)

# "e.g., 'C', 'F#'", "such as 'New York' or 'London'": what the documentation itself gives as examples.
_EXAMPLES = re.compile(
    r"(?:e\.g\.?|such as|for example|like|for instance|example:)[,:]?\s*"
    r"((?:['\"][^'\"]{1,40}['\"](?:,? or |, and |, | and )?)+)",
    re.I,
)
_QUOTED = re.compile(r"['\"]([^'\"]{1,40})['\"]")
_PLACEHOLDER = re.compile(r"(your|placeholder|yyyy|mm-dd|dd-mm|hh:mm|<|\{|xxx|string|example$)", re.I)


def words_of(name: str) -> str:
    """`checkInDate` and `check_in_date` as `check in date`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", name)
    return " ".join(re.split(r"[\W_]+", spaced)).strip().lower()


def arguments_for(tool: Tool, random: Random) -> dict[str, Any]:
    """A value for each required parameter, and now and then for one that is optional."""
    names = [name for name in tool.required if name in tool.properties]
    optional = [n for n, s in tool.properties.items() if n not in names and isinstance(s, Mapping) and s.get("enum")]
    if optional and len(names) < 3 and random.random() < 0.4:
        names.append(random.choice(optional))
    return {name: value_for(name, tool.properties[name], random) for name in names}


def value_for(name: str, schema: Any, random: Random, depth: int = 0) -> Any:
    """A plausible value of a parameter; None where nothing can be guessed."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return _text(name, {}, random)
    for key in ("anyOf", "oneOf"):
        if alternatives := schema.get(key):
            return value_for(name, alternatives[0], random, depth + 1)
    if "const" in schema:
        return schema["const"]
    if choices := [one for one in schema.get("enum") or () if one not in ("", None)]:
        return random.choice(choices)
    if examples := schema.get("examples"):
        return random.choice(list(examples))
    declared = schema.get("type", "string")
    kind = next((t for t in declared if t != "null"), "null") if isinstance(declared, (list, tuple)) else declared
    if kind == "object":
        return _object(schema, random, depth)
    if kind == "array":
        items = schema.get("items") or {"type": "string"}
        count = max(int(schema.get("minItems") or 0), min(int(schema.get("maxItems") or 2), 2))
        singular = re.sub(r"s$", "", words_of(name))
        return [value_for(singular, items, random, depth + 1) for _ in range(min(count, 20))]
    if kind == "boolean":
        return random.random() < 0.7
    if kind in ("integer", "number"):
        return _number(name, schema, kind, random)
    return None if kind == "null" else _text(name, schema, random)


def _object(schema: Mapping[str, Any], random: Random, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    names = [name for name in schema.get("required") or list(properties)[:2] if name in properties]
    return {name: value_for(name, properties[name], random, depth + 1) for name in names}


def _number(name: str, schema: Mapping[str, Any], kind: str, random: Random) -> float:
    label = words_of(name)
    values = next((v for pattern, v in _NUMBER_HINTS if pattern.fullmatch(label)), (4, 5, 8, 10, 12, 25))
    if kind == "integer":
        values = tuple(int(v) if v == int(v) else 3 for v in values)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    fitting = [v for v in values if (low is None or v > low) and (high is None or v < high)]
    if fitting:
        return random.choice(fitting)
    if low is not None and high is not None:
        middle = (low + high) / 2
        return int(middle) if kind == "integer" else middle
    return (low + 1) if low is not None else (high - 1 if high is not None else values[0])


def _text(name: str, schema: Mapping[str, Any], random: Random) -> str | None:
    description = str(schema.get("description") or "")
    if found := examples_in(description):
        return random.choice(found)
    if isinstance(given := schema.get("default"), str) and given and random.random() < 0.5:
        return given
    if values := _FORMATS.get(str(schema.get("format"))):
        return random.choice(values)
    label = words_of(name)
    if label in ("name", "full name"):
        return random.choice(("Anna Meyer", "David Ortiz", "Mia Chen"))
    label = label.removesuffix(" name")
    for pattern, texts in _TEXT_HINTS:
        if pattern.fullmatch(label):
            return random.choice(texts)
    return None


def examples_in(description: str) -> list[str]:
    """The quoted values that a parameter's description gives as examples."""
    found = [value for match in _EXAMPLES.finditer(description) for value in _QUOTED.findall(match[1])]
    return [value.strip() for value in found if value.strip() and not _PLACEHOLDER.search(value)]
