"""A bill of materials of what toolgen needs, in CycloneDX 1.6, from the installed packages' own metadata: `make sbom`.

The same environment gives the same bytes: no time, no random serial number.
"""

from __future__ import annotations

import json
import runpy
import sys
from importlib.metadata import Distribution, version
from pathlib import Path
from typing import Any

AUDIT = runpy.run_path(str(Path(__file__).with_name("audit.py")))


def component(package: Distribution) -> dict[str, Any]:
    """One package: its name, version, package address, licence, and the hash of requirements.lock where there is one."""
    name = AUDIT["canonicalize_name"](package.metadata["Name"])
    licence = AUDIT["licence"](package)
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{package.version}",
        "name": name,
        "version": package.version,
        "purl": f"pkg:pypi/{name}@{package.version}",
        "licenses": [{"license": {"name": licence}}],
    }
    if digest := AUDIT["hashes"]().get(name):
        found["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return found


def bill() -> dict[str, Any]:
    """The document."""
    components = sorted(map(component, AUDIT["needed"]()), key=lambda one: str(one["name"]))
    own = f"pkg:pypi/toolgen@{version('toolgen')}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "toolgen",
                "version": version("toolgen"),
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
    sys.stdout.write("\n")
