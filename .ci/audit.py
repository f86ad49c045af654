"""What `make audit` checks of the packages that toolgen needs, without a network; one line for each fault, exit code 1.

- Every installed one has the version that constraints.txt names.
- Every version in constraints.txt has a hash in requirements.lock, and nothing else has.
- Every installed one has a licence that an Apache-2.0 project may use.

Which versions have known vulnerabilities, only a network can tell: `pip-audit -r requirements.lock`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_HASH = {"torch"}  # its builds differ by device
OF_THE_INSTALLER = {"pip", "setuptools", "wheel", "toolgen"}
LICENCES = re.compile(
    r"\(?(the )?(3-Clause )?(MIT|BSD|0BSD|Apache|MPL|Mozilla Public License|PSF|Python Software Foundation|ISC|Zlib|CC0|BSL-1|"
    r"CNRI-Python|LLVM-exception|HPND|Unlicense|DFSG approved$)",
    re.IGNORECASE,
)


def pins() -> dict[str, str]:
    """Name to version, of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def _lines() -> list[tuple[str, str, str]]:
    """Name, version and sha256 of each line of requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", text, re.M)


def locked() -> dict[str, str]:
    """Name to version, of what has a hash in requirements.lock."""
    return {canonicalize_name(name): version for name, version, _ in _lines()}


def hashes() -> dict[str, str]:
    """Name to that hash."""
    return {canonicalize_name(name): digest for name, _, digest in _lines()}


def needed() -> Iterator[Distribution]:
    """The installed packages that toolgen, its extras and its tools need, directly or not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    waiting = [Requirement(text) for texts in (project["dependencies"], *extras) for text in texts]
    seen: set[tuple[str, str]] = set()
    yielded: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, extra) for extra in ("", *requirement.extras)} - seen
        if not new or name in OF_THE_INSTALLER:
            continue
        seen |= new
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform, or an extra that is not installed
        if name not in yielded:
            yielded.add(name)
            yield found
        for inner in map(Requirement, found.requires or ()):
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for _, extra in new):
                waiting.append(inner)


def licence(package: Distribution) -> str:
    """What a package says of its licence, as an expression, in classifiers, or in words."""
    metadata = package.metadata
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or () if "License" in text]
    words = str(metadata.get("License") or "").strip().partition("\n")[0]
    return str(metadata.get("License-Expression") or "; ".join(classifiers) or words)


def faults() -> Iterator[str]:
    """One line each."""
    pinned, hashed = pins(), locked()
    for name in sorted(pinned.keys() - WITHOUT_HASH | hashed.keys()):
        if pinned.get(name) != hashed.get(name):
            yield f"{name}: constraints.txt names {pinned.get(name)}, requirements.lock has a hash of {hashed.get(name)}"
    for package in needed():
        name = canonicalize_name(package.metadata["Name"])
        if package.version.partition("+")[0] != pinned.get(name):
            yield f"{name}: {package.version} is installed, constraints.txt names {pinned.get(name)}"
        said = licence(package)
        if not said or not all(LICENCES.match(part.strip()) for part in re.split(r" AND | OR | WITH |;", said)):
            yield f"{name}: its licence {said!r} is not among those that were looked at"


if __name__ == "__main__":
    found = list(faults())
    print("\n".join(found) or f"{len(locked())} packages: pinned, with hashes, licences known")
    sys.exit(bool(found))
