"""What `make package` checks of the files that would be published, one line for each fault, exit code 1.

- Wheel and sdist come out byte for byte the same when they are built twice, the second time from what the sdist holds.
- Neither is larger than its limit, and both hold what they have to.
- The wheel installs into a bare environment with every extra (the versions of constraints.txt), and finds a tool there.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEGABYTES = {".whl": 15, ".gz": 30}
NEEDED = (
    "toolgen/py.typed",
    "toolgen/fetching/bases/toolgen-135m/shipped.json",
    "toolgen/serving/playground/",
    "toolgen/evaluation/templates/",
)
TOOL = 'def get_forecast(city: str) -> str:\n    """Weather forecast for a city."""\n    return city\n'


def built(source: Path, target: Path) -> dict[str, Path]:
    """Builds wheel and sdist of a folder into `target`; by suffix."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}  # 1 January 2026
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return {file.suffix: file for file in target.iterdir()}


def faults(folder: Path) -> Iterator[str]:
    """One line each; `folder` is an empty one for what is built."""
    first = built(ROOT, folder / "first")
    with tarfile.open(first[".gz"]) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    (source / "PKG-INFO").unlink()  # written by the first build, and no part of the sources
    second = built(source, folder / "second")
    for suffix, file in first.items():
        digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in (file, second[suffix])]
        if digests[0] != digests[1]:
            yield f"{file.name}: built again in another folder it is another file ({digests[0][:12]}, {digests[1][:12]})"
        if (size := file.stat().st_size / 1e6) > MEGABYTES[suffix]:
            yield f"{file.name}: {size:.1f} MB, more than {MEGABYTES[suffix]}"
    names = zipfile.ZipFile(first[".whl"]).namelist()
    yield from (f"the wheel has no {needed}" for needed in NEEDED if not any(one.startswith(needed) for one in names))
    yield from (f"the wheel holds {one}" for one in names if not one.startswith(("toolgen/", "toolgen-")))


def install(wheel: Path, folder: Path) -> None:
    """Into a bare environment with every extra; then a catalog is made and searched there."""
    subprocess.run([sys.executable, "-m", "venv", folder / "bare"], check=True)
    python, constraints = folder / "bare" / "bin" / "python", str(ROOT / "constraints.txt")
    for wanted in ("torch", f"{wheel}[all]"):  # torch first: what wants torch would choose another build
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, wanted], check=True)
    (folder / "my_tools.py").write_text(TOOL, encoding="utf-8")
    for words in ("--version", "catalog build python:my_tools.py -o mine", "catalog search mine rain,forecast"):
        subprocess.run([python, "-m", "toolgen", *words.split()], cwd=folder, check=True)


def main(folder: Path) -> int:
    """The exit code."""
    found = list(faults(folder))
    print("\n".join(found) or "wheel and sdist: the same twice, complete, within their limits")
    if not found:
        (wheel,) = (folder / "first").glob("*.whl")
        install(wheel, folder)
    return bool(found)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made)))
