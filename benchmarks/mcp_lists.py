"""Two lists of forty MCP servers each that other people published, one from npm, one from PyPI, and requests for their tools.

    python benchmarks/mcp_lists.py npm FOLDER -o DATASET [--only NAME ...]
    python benchmarks/mcp_lists.py pypi FOLDER -o DATASET
    python benchmarks/cold_start.py DATASET --tools 2000 --split test --base toolgen-135m

Installs the servers of mcp_lists.json into FOLDER (npm without install scripts; PyPI with `uv`, which must be there), never
into this environment, starts each once to list its tools, without any account (keys are dummies), and writes a dataset with the
requests of mcp_lists_requests.jsonl. What the servers say of their tools is theirs and is not kept here. Packages change: with
other versions than those named the figures are others.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.datasets import Query, save_dataset, transforms
from toolgen.datasets.sources import Source, build_dataset

LISTS, REQUESTS = (Path(__file__).with_name(f"mcp_lists{end}") for end in (".json", "_requests.jsonl"))
PYTHON = "3.11"
# Wikipedia's server lists each tool twice, under two names: one is left out.
TWICE = "wikipedia&&wikipedia_"
OAUTH = {
    "installed": {
        "client_id": "dummy.apps.googleusercontent.com",
        "client_secret": "dummy",
        "redirect_uris": ["http://localhost"],
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
}


def install(name: str, server: Mapping[str, Any], which: str, folder: Path) -> bool:
    """Whether the server is there, installed now or before."""
    place = folder / name
    if place.exists():
        return True
    if which == "npm":
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        commands = [["npm", "install", *options, "--prefix", str(place), *server["packages"]]]
    else:
        python = str(place / "bin" / "python")
        commands = [
            ["uv", "venv", "-q", "--python", server.get("python", PYTHON), str(place)],
            ["uv", "pip", "install", "-q", "--only-binary", ":all:", "--python", python, *server["packages"]],
        ]
    for command in commands:
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
            shutil.rmtree(place, ignore_errors=True)
            print(f"{name}: {' '.join(command)} failed; it is left out", file=sys.stderr)
            return False
    return True


def surroundings(folder: Path) -> None:
    """What some servers want to find before they say anything: keys of Google's form, a repository, folders."""
    for file in (folder / "gcp-oauth.keys.json", folder / "home" / ".gmail-mcp" / "gcp-oauth.keys.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(OAUTH), encoding="utf-8")
    for name in ("repo", "papers"):
        (folder / "run" / name).mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(folder / "run" / "repo")], check=True)


def client_file(servers: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """The servers as a client's file says them; what they write at home they write into FOLDER."""
    keys = ("command", "args", "env")
    written = {name: {key: server[key] for key in keys if key in server} for name, server in servers.items()}
    for server in written.values():
        server["env"] = {"HOME": str(folder / "home"), **server.get("env", {})}
    file = folder / "servers.json"
    file.write_text(json.dumps({"mcpServers": written}, indent=1), encoding="utf-8")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("npm", "pypi"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", help="these servers alone")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    folder = given.folder.resolve()
    surroundings(folder)
    written = LISTS.read_text(encoding="utf-8").replace("{folder}", json.dumps(str(folder))[1:-1])
    listed = json.loads(written)[given.which]
    wanted = {name: listed[name] for name in given.only or listed}
    servers = {name: server for name, server in wanted.items() if install(name, server, given.which, folder)}
    source = Source("mcp", str(client_file(servers, folder)))
    dataset = build_dataset(
        [source], given.which, on_servers=lambda done, of: print(f"{done} of {of}", file=sys.stderr)
    )
    dataset = transforms.select(dataset, (), (TWICE,))
    for report in dataset.reports:
        for loss in report.losses:
            print(f"lost: {loss.name}: {loss.reason}", file=sys.stderr)
    asked = [json.loads(line) for line in REQUESTS.read_text(encoding="utf-8").splitlines()]
    known = {*dataset.catalog.ids}
    queries = tuple(
        Query(id=f"{given.which}-{number}", text=one["text"], tools=tuple(one["tools"]))
        for number, one in enumerate(asked)
        if one["list"] == given.which and known.issuperset(one["tools"])
    )
    save_dataset(replace(dataset, queries={"train": (), "dev": (), "test": queries}), given.output)
    print(f"wrote {given.output}: {len(dataset.catalog):,} tools, {len(queries)} requests")


if __name__ == "__main__":
    main()
