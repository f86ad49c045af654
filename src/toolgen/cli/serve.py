"""`toolgen serve`: a checkpoint behind OpenAI's and Anthropic's interfaces, for clients that exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolgen.cli.console import message, show
from toolgen.cli.searching import AddOption, DeclineRateOption, EncoderOption, RetrieverOption, has_weights
from toolgen.cli.served import SearchOptions, ServedArgument, served_folder
from toolgen.cli.settings import MAX_SECONDS, ConfigOption, keys_of
from toolgen.cli.tool_sources import ExcludeOption, IncludeOption
from toolgen.errors import InputError, MissingExtraError, UsageError
from toolgen.foreign.data import read_text
from toolgen.serving.addresses import LOOPBACK, in_url

if TYPE_CHECKING:
    from toolgen.agent import GenerativePolicy
    from toolgen.serving.assistant import Assistant
    from toolgen.serving.service import Service

_LOG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "toolgen.serving": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "propagate": False},
    },
}
_KEY_LINE = re.compile(r"(\S+)\s+([0-9a-f]{64})")


def register(app: typer.Typer) -> None:
    """Adds `serve`."""
    app.command("serve", epilog="Example: toolgen serve CKPT --port 8000")(serve)


HostOption = Annotated[str, typer.Option(help="The address to listen at; beyond this machine only with --keys.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535)]
KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="Owners and hashes of keys, a line each; --new-key makes one."),
]
NewKeyOption = Annotated[
    str | None,
    typer.Option(
        "--new-key", metavar="OWNER", help="Print a new key, and the line for the file of keys; serve nothing."
    ),
]
NameOption = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="HOST", help="A name that the server goes by behind a proxy; may be repeated."),
]
RunningOption = Annotated[int, typer.Option(min=1, help="Conversations answered at once.")]
WaitingOption = Annotated[int, typer.Option(min=1, help="More that wait; the next is told to come again.")]
SecondsOption = Annotated[float, typer.Option(min=0.1, max=MAX_SECONDS, help="The longest time for one answer.")]


def serve(
    ctx: typer.Context,
    given: ServedArgument,
    host: HostOption = LOOPBACK[0],
    port: PortOption = 8000,
    keys: KeysOption = None,
    new_key: NewKeyOption = None,
    names: NameOption = None,
    running: RunningOption = 32,
    waiting: WaitingOption = 64,
    seconds: SecondsOption = 120.0,
    retriever: RetrieverOption = None,
    add: AddOption = None,
    encoder: EncoderOption = None,
    decline_rate: DeclineRateOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve /v1/chat/completions, /v1/responses and /v1/messages with tool search, /v1/tools/search, /v1/models and /metrics.

    The catalog's tools need not be listed in requests: the model finds them, and the client carries the calls out. SIGTERM ends
    the server once all accepted requests are answered; SIGHUP reads the catalog, the checkpoint and the keys again, while
    requests go on. At / there is a page to search, to chat and to see all tools on a map. Each request is a line of JSON on
    stderr, without its words.
    """
    try:
        import uvicorn

        from toolgen.serving.app import make_app
        from toolgen.serving.assistant import Assistant
        from toolgen.serving.guard import LOOPBACK_NAMES, Meters, hashed
        from toolgen.serving.guard import new_key as make_key
        from toolgen.serving.reloading import Loaded, Reloading
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    if new_key is not None:
        key = make_key()
        show([f"key: {key}", f"line: {new_key} {hashed(key)}"])
        return
    is_local, meters = host in LOOPBACK, Meters()
    searching = SearchOptions(
        retriever=retriever, add=add, encoder=encoder, decline_rate=decline_rate, include=include, exclude=exclude
    )

    def assistant_of(policy: GenerativePolicy, tools: tuple[str, ...]) -> Assistant:
        return Assistant(
            policy.checkpoint, policy=policy, tools=tools, running=running, waiting=waiting, seconds=seconds
        )

    def load() -> Loaded:
        known = _keys(keys, config, host)
        service = _service(served_folder(ctx, given), searching, assistant_of)
        hosts = [*LOOPBACK_NAMES, *(names or ())] if is_local or names else []
        message(f"serving {len(service.catalog):,} tools at http://{in_url(host)}:{port}/v1, a page at /")
        return Loaded(make_app(service, hosts=hosts, keys=known, meters=meters), service.close)

    app = Reloading(load, message)
    grace = int(seconds) + 1
    uvicorn.run(app, host=host, port=port, log_config=_LOG, log_level="warning", timeout_graceful_shutdown=grace)


def _service(
    folder: Path, searching: SearchOptions, make: Callable[[GenerativePolicy, tuple[str, ...]], Assistant]
) -> Service:
    from toolgen.serving.service import Service

    catalog, assistant = searching.catalog(folder), None
    if has_weights(folder):
        from toolgen.checkpoint import Checkpoint
        from toolgen.serving.request_tools import with_room

        assistant = make(searching.policy(with_room(Checkpoint.load(folder))), catalog.ids)
    loaded = (assistant.checkpoint, assistant.engine) if assistant else ()
    try:
        return Service(folder.resolve().name, catalog, searching.open(folder, catalog, *loaded), assistant)
    except BaseException:  # a service that was made before goes on without this one's model
        if assistant:
            assistant.close()
        raise


def _keys(file: Path | None, config: Path | None, host: str) -> dict[str, str]:
    """Hashes by owner, of a file or of toolgen.toml. UsageError for none where other machines reach the server."""
    known = _read_keys(file) if file else keys_of(config)
    if not known and host not in LOOPBACK:
        raise UsageError(
            f"--host {host}: a server that other machines reach needs --keys FILE, or serve.keys in --config FILE"
        )
    return known


def _read_keys(path: Path) -> dict[str, str]:
    """Hashes by owner. InputError names the line that is none."""
    keys = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _KEY_LINE.fullmatch(line.strip())
        if not found:
            raise InputError(
                f"{path}, line {number}: write OWNER and the hash that `toolgen serve CKPT --new-key OWNER` prints"
            )
        if found[1] in keys:
            raise InputError(f"{path}, line {number}: {found[1]} has a key above; give each key an owner of its own")
        keys[found[1]] = found[2]
    if not keys:
        raise InputError(f"{path} holds no key; `toolgen serve CKPT --new-key OWNER` makes one")
    return keys
