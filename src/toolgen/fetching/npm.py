"""Packages of an npm registry as containers of files: downloaded with npm or, without Node, straight as the archive;
checked, unpacked. Nothing in them is installed or run.

Knows no artifact and no format.
"""

from __future__ import annotations

import configparser
import http.client
import os
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolgen.errors import FetchError
from toolgen.fetching.wheels import check_sha256, is_inside

RunNpm = Callable[[Sequence[str], Path], "subprocess.CompletedProcess[str] | None"]
"""Runs npm with these arguments in this folder; None if there is no npm."""
OpenUrl = Callable[[urllib.request.Request], Any]

MAX_UNPACKED_BYTES = 4 << 30
TIMEOUT_SECONDS = 60.0
_CHUNK = 1 << 20
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def run_npm(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
    """npm of this machine, if it has one that starts."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    environment = {"npm_config_update_notifier": "false", "npm_config_fund": "false", **os.environ}
    command = [npm, *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", env=environment, check=False
        )
    except OSError:
        return None


def open_url(request: urllib.request.Request) -> Any:
    """urllib's answer to a request, through the proxies of the environment."""
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)


def download_package(
    requirement: str,
    sha256: str,
    folder: Path,
    partial: Path,
    *,
    run: RunNpm = run_npm,
    open_url: OpenUrl = open_url,
    on_message: Callable[[str], None],
) -> Path:
    """The archive of `name@version` in `folder`, checked. Without npm, or if it fails, it is downloaded directly;
    `partial` keeps what an interrupted direct download has, and the next one goes on there.

    FetchError if neither way works.
    """
    done = run(["pack", requirement, "--pack-destination", str(folder), "--ignore-scripts", "--silent"], folder)
    problem = "npm is not installed"
    if done is not None:
        archives = sorted(folder.glob("*.tgz"))
        if done.returncode == 0 and len(archives) == 1:
            check_sha256(archives[0], sha256, requirement)
            return archives[0]
        problem = f"npm says: {_reason(done.stderr)}"
    registry = registry_address(run, folder) if done is not None else configured_registry()
    if not registry:
        raise FetchError(
            f"could not download {requirement}: {problem}, and no registry is known; install npm, set npm_config_registry, or "
            "give a local copy with --from"
        )
    on_message(f"{problem}; downloading {requirement} directly")
    _download(requirement, registry, partial, problem, open_url)
    try:
        check_sha256(partial, sha256, requirement)
    except FetchError:
        partial.unlink(missing_ok=True)
        raise
    return partial.replace(folder / "package.tgz")


def registry_address(run: RunNpm, folder: Path) -> str:
    """The registry that npm is set up for."""
    done = run(["config", "get", "registry"], folder)
    found = done.stdout.strip() if done is not None and done.returncode == 0 else ""
    return found if found.startswith(("http://", "https://")) else configured_registry()


def configured_registry() -> str:
    """What npm is told to use, found without it: the environment, the npmrc files of the user and the machine; else ""."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value
    files = [os.environ.get("NPM_CONFIG_USERCONFIG") or str(Path.home() / ".npmrc")]
    files += [os.environ.get("NPM_CONFIG_GLOBALCONFIG") or "", "/usr/local/etc/npmrc", "/etc/npmrc"]
    for file in files:
        if file and (registry := _registry_of(Path(file))):
            return registry
    return ""


def _registry_of(npmrc: Path) -> str:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    try:
        parser.read_string("[npmrc]\n" + npmrc.read_text(encoding="utf-8", errors="replace"))
    except (OSError, configparser.Error):
        return ""
    value = (parser.get("npmrc", "registry", fallback=None) or "").strip().strip("\"'")
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)


def unpack_package(archive: Path, folder: str, target: Path) -> None:
    """Unpacks one folder of a package into `target`.

    FetchError if a member would land outside `target`, is a link, or if all is more than MAX_UNPACKED_BYTES.
    """
    prefix, total, written = f"{folder}/", 0, 0
    try:
        with tarfile.open(archive, mode="r:gz") as package:
            for member in package:
                _check_member(member, archive)
                total += member.size
                if total > MAX_UNPACKED_BYTES:
                    raise FetchError(f"{archive.name} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GB; it was left")
                source = package.extractfile(member) if member.name.startswith(prefix) and member.isreg() else None
                if source is None:
                    continue
                path = target / member.name.removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                with source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
                written += 1
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"{archive.name} is not the archive of a package: {error}") from error
    if not written:
        raise FetchError(f"{archive.name} holds no folder {folder!r}")


def _check_member(member: tarfile.TarInfo, archive: Path) -> None:
    if not is_inside(member.name) or "\\" in member.name:
        raise FetchError(f"{archive.name} holds a file with an unsafe path ({member.name!r}); it was not used")
    if not (member.isreg() or member.isdir()):
        raise FetchError(f"{archive.name} holds a link or device ({member.name!r}); it was not used")


def _download(requirement: str, registry: str, partial: Path, problem: str, open_url: OpenUrl) -> None:
    """Writes the package's archive to `partial`, after what is there already if the server can go on in the middle."""
    name, _, version = requirement.rpartition("@")
    url = f"{registry.rstrip('/')}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.is_file() else 0
    try:
        _append(url, partial, have, open_url)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after what is there: it is complete, or no part of this file
            return
        raise FetchError(
            f"could not download {requirement}: {problem}, and the registry answers {error.code}; install npm, set "
            "npm_config_registry, or give a local copy with --from"
        ) from None
    except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise FetchError(
            f"could not download {requirement}: {problem}, and the registry cannot be reached ({reason}); connect, or "
            "give a local copy with --from; what has arrived is kept"
        ) from None


def _append(url: str, partial: Path, have: int, open_url: OpenUrl) -> None:
    headers = {"User-Agent": "toolgen"} | ({"Range": f"bytes={have}-"} if have else {})
    with open_url(urllib.request.Request(url, headers=headers)) as answer:
        goes_on = have > 0 and answer.status == 206
        with partial.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [re.sub(r"^npm (ERR!|error)\s*", "", line) for line in lines if "404" in line or "code E" in line]
    return (errors or lines or ["nothing"])[0][:200]
