"""Settings of the serving commands in a file: what is long-lived, named as the options are. Knows no command's work.

    sources = ["openapi:api.yaml", "mcp:servers.json"]    # or one checkpoint or dataset
    exclude = ["provider:internal.*"]

    [serve]
    port = 8000
    keys = {ada = "<hash of toolgen serve CKPT --new-key ada>", ci = "${CI_KEY}"}

    [mcp]
    allow-host = ["api.example.com"]
    header = ["api.example.com: Authorization: Bearer ${EXAMPLE_TOKEN}"]
    confirm = true

Relative paths are those beside the file. What is typed wins.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolgen.errors import InputError
from toolgen.foreign.data import read_text

MAX_SECONDS = 86_400  # for one answer: a day
_HASH = re.compile("[0-9a-f]{64}")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-"), validate_by_name=False
    )


class ServeSettings(_Table):
    """Of `toolgen serve`. `keys` holds by owner the hash of a key, or the environment variable with the key."""

    host: str | None = None
    port: int | None = Field(None, ge=0, le=65535)
    name: list[str] | None = None
    running: int | None = Field(None, ge=1)
    waiting: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, ge=0.1, le=MAX_SECONDS)
    keys: dict[str, str] = {}


class McpSettings(_Table):
    """Of `toolgen mcp`."""

    host: str | None = None
    port: int | None = Field(None, ge=0, le=65535)
    http: bool | None = None
    dry_run: bool | None = None
    read_only: bool | None = None
    confirm: bool | None = None
    yes: bool | None = None
    allow_host: list[str] | None = None
    allow_private: bool | None = None
    header: list[str] | None = None
    server: list[str] | None = None
    mcp_server: list[str] | None = None
    python: list[str] | None = None
    call_within: float | None = Field(None, ge=0.1)
    log: str | None = None
    log_contents: bool | None = None


class Settings(_Table):
    """The whole file."""

    sources: list[str] | None = Field(None, min_length=1)
    include: list[str] | None = None
    exclude: list[str] | None = None
    retriever: str | None = None
    add: list[str] | None = None
    encoder: str | None = None
    decline_rate: float | None = Field(None, ge=0, le=1)
    serve: ServeSettings = ServeSettings()
    mcp: McpSettings = McpSettings()


def read_settings(path: Path) -> Settings:
    """The settings of a file. InputError in one line: file, setting, what is expected."""
    try:
        return Settings.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        tables: dict[str, type[_Table]] = {"serve": ServeSettings, "mcp": McpSettings}
        table = tables.get(where.partition(".")[0], Settings)
        known = ", ".join(str(one.alias) for one in table.model_fields.values())
        said = f"no setting; there are {known}" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(f"{path}: {where}: {said}") from None


def keys_of(path: Path | None) -> dict[str, str]:
    """Hashes of keys by owner, as the file of --config has them now. InputError for a variable that is not set."""
    from toolgen.serving.guard import hashed

    found = {}
    for owner, text in (read_settings(path).serve.keys if path else {}).items():
        if variable := _VARIABLE.fullmatch(text):
            if not os.environ.get(variable[1]):
                raise InputError(f"serve.keys.{owner}: the environment variable {variable[1]} is not set")
            found[owner] = hashed(os.environ[variable[1]])
        elif _HASH.fullmatch(text):
            found[owner] = text
        else:
            raise InputError(
                f"serve.keys.{owner}: give the hash that `toolgen serve CKPT --new-key {owner}` prints, or ${{VARIABLE}}"
            )
    return found


def full_place(place: str, folder: Path = Path()) -> str:
    """A file or folder by its full path, after `kind:` too; a command or an address as it is."""
    kind, colon, rest = place.partition(":") if not (folder / place).exists() else ("", "", place)
    return f"{kind}{colon}{(folder / rest).resolve()}" if rest and (folder / rest).exists() else place


def _take(ctx: typer.Context, path: Path | None) -> Path | None:
    """Makes the file's settings the defaults of the command that is called."""
    if path is not None:
        settings, folder = read_settings(path), path.parent
        common = settings.model_dump(exclude={"serve", "mcp"}, exclude_none=True)
        own = (settings.mcp if ctx.command.name == "mcp" else settings.serve).model_dump(
            exclude={"keys"}, exclude_none=True
        )
        ctx.default_map = {
            _PARAMETERS.get(name, name): _placed(name, value, folder) for name, value in (common | own).items()
        }
    return path


def _placed(name: str, value: Any, folder: Path) -> Any:
    if name in ("sources", "mcp_server", "python"):
        return [full_place(place, folder) for place in value]
    return str(folder / value) if name in ("encoder", "log") else value


_PARAMETERS: Mapping[str, str] = {"sources": "given", "name": "names"}
"""Settings whose parameter has another name."""
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_take,
        help="A TOML file with sources and options (toolgen.toml); what is typed wins.",
    ),
]
