"""What `deploy/` holds refers to files, commands and options that exist, and is what its tools take."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from toolgen.cli.app import make_app
from toolgen.cli.settings import read_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="an installed package has no deploy/")

# The instructions of Docker's reference for Dockerfiles that have not been withdrawn.
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD", "RUN"),
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
# Keys of the Compose Specification, as far as one service needs them.
SERVICE_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "ports", "read_only"),
    *("restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes"),
}


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, lines that go on joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.M)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def of(name: str) -> list[str]:
    return [rest for one, rest in instructions() if one == name]


def options_of(command: list[str]) -> None:
    """Fails unless `toolgen` has these options."""
    done = CliRunner().invoke(make_app(), [command[0], "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for word in command[1:]:
        if word.startswith("--"):
            assert word in done.stdout


def test_the_dockerfile_has_docker_s_instructions_in_their_order() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= INSTRUCTIONS
    assert names[0] == "FROM"
    for once in ("ENTRYPOINT", "CMD", "HEALTHCHECK", "STOPSIGNAL", "USER"):
        assert names.count(once) == 1
    for image in of("FROM"):
        assert re.fullmatch(r"\S+:[\w.-]+( AS \w+)?", image), "an image has a version"
        assert ":latest" not in image


def test_the_image_runs_the_command_as_nobody_special() -> None:
    last = max(place for place, (name, _) in enumerate(instructions()) if name == "FROM")
    names = [name for name, _ in instructions()[last:]]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert of("USER")[0] not in ("root", "0")
    (uid,) = re.findall(r"--uid (\d+)", of("RUN")[-1])
    assert of("USER") == [uid]


def test_what_is_copied_exists() -> None:
    stages = {image.rpartition(" AS ")[2] for image in of("FROM") if " AS " in image}
    for rest in of("COPY"):
        words = shlex.split(rest)
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        assert not words[0].startswith("--")
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    (extras,) = re.findall(r"\.\[([\w,]+)\]", " ".join(of("RUN")))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert {"README.md", *project.get("license-files", ["LICENSE"])} <= {
        source for rest in of("COPY") for source in rest.split()
    }


def test_the_commands_of_the_image_exist() -> None:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        scripts = tomllib.load(stream)["project"]["scripts"]
    (entry,), command = json.loads(of("ENTRYPOINT")[0]), json.loads(of("CMD")[0])
    assert entry in scripts
    options_of(command)
    health = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    compile(health[-1], "HEALTHCHECK", "exec")
    (port,) = re.findall(r":(\d+)/ready", health[-1])
    assert of("EXPOSE") == [port]


def test_compose_says_what_compose_takes() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    assert set(compose) <= {"name", "services", "volumes", "networks", "secrets", "configs"}
    own = {"toolgen.toml", "prometheus.yml"}
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("depends_on", [])) <= set(compose["services"])
        for volume in service["volumes"]:
            place = volume.split(":")[0]
            given = place.startswith("./")
            assert given or place in compose["volumes"]
            if given and place.removeprefix("./") in own:
                assert (DEPLOY / place).exists()
    build = compose["services"]["toolgen"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_prometheus_scrapes_a_service_of_compose_where_the_server_listens() -> None:
    scraped: Any = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    (job,) = scraped["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    assert of("EXPOSE") == [port]


def test_the_settings_are_read() -> None:
    assert read_settings(DEPLOY / "toolgen.toml").serve.port == 8000


def test_the_unit_starts_a_command_with_options_that_exist() -> None:
    unit = (DEPLOY / "toolgen.service").read_text("utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
    program, *command = shlex.split(start)
    assert Path(program).name == "toolgen"
    options_of(command)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "toolgen.service"
    text = (DEPLOY / "toolgen.service").read_text("utf-8")
    unit.write_text(text.replace("/opt/toolgen/bin/toolgen", "/bin/true"), encoding="utf-8")  # it asks for the program
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "toolgen.service" in line]
    assert said == []
