"""``docker-compose.yml``: each rule is seen to fail, and the whole is run without containers."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check import LIMIT_S, NEEDED
from deploy.rules import violations
from tests.servers import needs

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def test_the_files_keep_the_rules() -> None:
    """As they stand, nothing is broken."""
    assert violations(COMPOSE, DOCKERFILE) == []


@pytest.mark.parametrize(
    ("service", "key", "value", "text"),
    [
        ("mosquitto", "image", "eclipse-mosquitto:2", "is not NAME:x.y.z"),
        ("mosquitto", "image", "registry.example/eclipse-mosquitto:2.0.22", "is not NAME:x.y.z"),
        ("mosquitto", "image", "eclipse-mosquitto:latest", "is not NAME:x.y.z"),
        ("core", "image", "fengsui:0.0.9", "is not this version"),
        ("core", "user", "0:0", "not root"),
        ("core", "user", None, "not root"),
        ("core", "read_only", False, "read_only"),
        ("core", "tmpfs", [], "tmpfs"),
        ("core", "cap_drop", [], "cap_drop"),
        ("core", "cap_add", ["NET_ADMIN"], "cap_add is not allowed"),
        ("core", "privileged", True, "privileged is not allowed"),
        ("core", "security_opt", [], "no-new-privileges"),
        ("core", "network_mode", "host", "host's network"),
        ("core", "mem_limit", None, "mem_limit is missing"),
        ("core", "restart", "no", "restart must be unless-stopped"),
        ("provision", "restart", "always", 'restart must be "no"'),
        ("core", "healthcheck", {}, "healthcheck"),
        ("core", "healthcheck", {"test": ["CMD", "true"]}, "healthcheck"),
        ("influxdb", "environment", {"DOCKER_INFLUXDB_INIT_PASSWORD": "admin123"}, "must name a file"),
        ("core", "command", ["core", "--password=admin"], "a secret stands in its command"),
        ("core", "depends_on", {"mosquito": {"condition": "service_started"}}, "no such service"),
        ("influxdb", "ports", ["8086:8086"], "published ports"),
        ("core", "volumes", ["/etc:/etc"], "not a named volume"),
        ("core", "volumes", ["core-config:/fengsui/core/config"], "must be read-only"),
        ("core", "volumes", ["core-data:/data"], "elsewhere"),
    ],
)
def test_a_broken_rule_is_named(service: str, key: str, value: object, text: str) -> None:
    """Each rule can fail, and says whose fault it is."""
    compose = copy.deepcopy(COMPOSE)
    compose["services"][service][key] = value
    if value is None:
        del compose["services"][service][key]
    assert any(text in found for found in violations(compose, DOCKERFILE))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.replace("python:3.11.14-slim-bookworm", "python:3.11-slim"), "base image"),
        (lambda file: file.replace("USER 10001:10001", "USER root"), "is not the user"),
        (lambda file: file.replace("--require-hashes", ""), "hashes"),
        (lambda file: file.replace("/core/data/run", "/core/run"), "does not make /fengsui/core/data/run"),
    ],
)
def test_a_broken_dockerfile_is_named(change: Callable[[str], str], text: str) -> None:
    """The image is pinned, checked, not root's, and has the folders that volumes take their owner from."""
    assert any(text in found for found in violations(COMPOSE, change(DOCKERFILE)))


def test_the_image_holds_what_its_file_copies() -> None:
    """Every folder and file the Dockerfile copies exists, and is sent to the build."""
    lines = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.slow
async def test_the_services_run_and_a_reading_arrives() -> None:
    """deploy/check: provisioned, started as the file says, healthy, refused who must be, stored, stopped."""
    for program in NEEDED:
        needs(program)
    ended = await asyncio.create_subprocess_exec(
        ROOT / "deploy/check", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S + 40):
            out, _ = await ended.communicate()
    finally:
        if ended.returncode is None:
            ended.terminate()
    assert ended.returncode == 0, out.decode()
    assert "everything holds" in out.decode()
