"""What `deploy/` holds refers to files, commands and options that exist, and is what its tools take."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from toolgen.cli.app import make_app
from toolgen.cli.settings import read_settings
from toolgen.datasets import save_dataset
from toolgen.testing import tiny_dataset

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


def built(root: Path) -> tuple[dict[str, str], Path]:
    """The image's environment and working folder under `root`, made by the Dockerfile's own lines. Packages are those that are
    installed here, so nothing is fetched, but their versions are checked; the account is not made."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    here = root

    def placed(text: str) -> str:
        return re.sub(r"(?<![\w.:/])/(opt|src|data)\b", rf"{root}/\1", text)

    for name, rest in instructions():
        if name == "WORKDIR":
            here = Path(placed(rest))
            here.mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            for pair in shlex.split(placed(rest)):
                variable, _, value = pair.partition("=")
                environment[variable] = value.replace("$PATH", environment["PATH"])
        elif name == "COPY" and not rest.startswith("--from="):
            *sources, target = shlex.split(rest)
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, here / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, here / target)
        elif name == "RUN" and "useradd" not in rest:
            done = subprocess.run(
                ["bash", "-c", placed(rest)], cwd=here, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            for site in root.glob("opt/toolgen/lib/python*/site-packages"):
                (site / "host.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
                for older in site.glob("setuptools*"):  # Python brings one, which a network would replace
                    shutil.rmtree(older)
    return environment, here


@pytest.mark.slow
def test_the_image_is_built_by_its_steps_and_serves(tmp_path: Path) -> None:
    environment, folder = built(tmp_path)
    save_dataset(tiny_dataset(), folder / "tools")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = hashlib.sha256(b"key").hexdigest()
    settings = f'sources = ["tools"]\n[serve]\nport = {port}\nkeys = {{ada = "{key}"}}\n'
    (folder / "toolgen.toml").write_text(settings, encoding="utf-8")
    command = [*json.loads(of("ENTRYPOINT")[0]), *json.loads(of("CMD")[0])]
    program = shutil.which(command[0], path=environment["PATH"])
    assert program and Path(program).is_relative_to(tmp_path)
    health = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2].replace(":8000/", f":{port}/"))
    with subprocess.Popen([program, *command[1:]], cwd=folder, env=environment, stderr=-1, text=True) as process:
        try:
            until = time.monotonic() + 120
            while subprocess.run(health, cwd=folder, env=environment, stderr=-3).returncode:
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()  # or its standard error does not end
                    raise AssertionError(process.communicate()[1])
                time.sleep(0.2)
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models", headers={"x-api-key": "key"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["data"][0]["id"] == "tools"
            process.send_signal(getattr(signal, of("STOPSIGNAL")[0]))
            assert process.wait(30) == 0
        finally:
            process.kill()


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
