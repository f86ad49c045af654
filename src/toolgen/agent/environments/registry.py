"""Which environment a task is carried out in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from toolgen.agent.environments.agentdojo import AgentDojoEnvironment
from toolgen.agent.environments.bfcl import BfclEnvironment
from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.agent.environments.protocol import Environment
from toolgen.agent.environments.tau2 import Tau2Environment
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.payloads import AgentDojoTask, BfclSystems, Tau2Task
from toolgen.datasets.task import Task
from toolgen.errors import EnvironmentSetupError

Packages = Mapping[str, Path]
"""Folders of fetched packages by name, as `toolgen fetch dataset NAME` fetches them."""
NO_PACKAGES: Packages = MappingProxyType({})


def environment_for(
    task: Task, catalog: Catalog, packages: Packages = NO_PACKAGES, *, validate: bool = True
) -> Environment:
    """The environment of a task, not yet reset: the one that its payload names, else a dry run over the catalog, which
    checks arguments if `validate`. EnvironmentSetupError if it needs a package that is not among `packages`."""
    if task.package and task.package not in packages:
        raise EnvironmentSetupError(
            f"task {task.id} needs the package {task.package}; run: toolgen fetch dataset {task.package}"
        )
    if isinstance(task.payload, BfclSystems):
        return BfclEnvironment(packages[task.package], catalog)
    if isinstance(task.payload, AgentDojoTask):
        return AgentDojoEnvironment(packages[task.package], catalog)
    if isinstance(task.payload, Tau2Task):
        return Tau2Environment(packages[task.package], catalog)
    return DryRunEnvironment(catalog.redefined(task.definitions), validate=validate)
