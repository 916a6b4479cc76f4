"""What ``docker-compose.yml`` and ``deploy/Dockerfile`` must hold, read from the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import fengsui

Service = Mapping[str, Any]

PUBLISHED = {"8443:8443", "8883:8883"}
"""The console's and the broker's TLS ports, and nothing else."""

_IMAGE = re.compile(r"(?P<name>[a-z0-9_-]+(/[a-z0-9_-]+)?):(?P<tag>\d+\.\d+\.\d+[a-z0-9.-]*)")
_USER = re.compile(r"[1-9]\d*:[1-9]\d*")
_SECRET = re.compile(r"password|token|secret|key", re.IGNORECASE)
_LITERAL = re.compile(r"(password|token|secret)[=: ]+[^/\s]", re.IGNORECASE)
_FORBIDDEN = ("privileged", "cap_add", "devices", "pid", "ipc", "userns_mode", "env_file")


def violations(compose: Mapping[str, Any], dockerfile: str) -> list[str]:
    """Every rule that is broken, in words that name the service; empty when all hold."""
    services: Mapping[str, Service] = compose["services"]
    found = [
        f"{name}: {text}" for name, service in services.items() for text in _service(name, service, services)
    ]
    found += _ports(services)
    found += _volumes(services, compose.get("volumes", {}))
    found += [f"Dockerfile: {text}" for text in _dockerfile(dockerfile, services)]
    return found


def ends_by_itself(name: str, services: Mapping[str, Service]) -> bool:
    """Whether others wait for this service's end."""
    return any(
        service.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
        for service in services.values()
    )


def is_ours(service: Service) -> bool:
    """Whether it runs from the image of this repository."""
    return str(service.get("image", "")).startswith("fengsui:")


def _service(name: str, service: Service, services: Mapping[str, Service]) -> Iterator[str]:
    image = _IMAGE.fullmatch(str(service.get("image", "")))
    if image is None:
        yield f"image {service.get('image')!r} is not NAME:x.y.z without a host"
    elif is_ours(service) and image["tag"] != fengsui.__version__:
        yield f"image {image['tag']} is not this version, {fengsui.__version__}"
    if not _USER.fullmatch(str(service.get("user", ""))):
        yield "user must be UID:GID, and not root"
    if service.get("read_only") is not True or not service.get("tmpfs"):
        yield "read_only: true and a tmpfs for /tmp are missing"
    if service.get("cap_drop") != ["ALL"]:
        yield "cap_drop must be [ALL]"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "security_opt lacks no-new-privileges:true"
    yield from (f"{key} is not allowed" for key in _FORBIDDEN if key in service)
    if service.get("network_mode") == "host":
        yield "the host's network is not allowed"
    yield from (f"{key} is missing" for key in ("mem_limit", "pids_limit", "logging") if not service.get(key))
    if ends_by_itself(name, services):
        if service.get("restart") != "no":
            yield 'restart must be "no": it ends by itself'
    else:
        if service.get("restart") not in ("unless-stopped", "always"):
            yield "restart must be unless-stopped or always"
        test = service.get("healthcheck", {}).get("test", [])
        if len(test) < 2 or test[0] != "CMD" or test[1] in ("true", "exit"):
            yield 'a healthcheck of the form ["CMD", ...] is missing'
    for key, value in service.get("environment", {}).items():
        if _SECRET.search(key) and not str(value).startswith("/"):
            yield f"{key} must name a file"
    words = [*service.get("entrypoint", []), *service.get("command", [])]
    if _LITERAL.search(" ".join(words)):
        yield "a secret stands in its command"
    for other, how in service.get("depends_on", {}).items():
        if other not in services or "condition" not in how:
            yield f"depends_on {other}: no such service, or no condition"


def _ports(services: Mapping[str, Service]) -> list[str]:
    published = {str(port) for service in services.values() for port in service.get("ports", [])}
    return (
        []
        if published == PUBLISHED
        else [f"published ports are {sorted(published)}, not {sorted(PUBLISHED)}"]
    )


def _volumes(services: Mapping[str, Service], declared: Mapping[str, Any]) -> Iterator[str]:
    places: dict[str, str] = {}
    for name, service in services.items():
        for mount in service.get("volumes", []):
            volume, place, *mode = mount.split(":")
            if volume not in declared:
                yield f"{name}: {volume} is not a named volume of this file"
            if places.setdefault(volume, place) != place:
                yield f"{name}: {volume} is at {place} here and at {places[volume]} elsewhere"
            if place.endswith("/config") and mode != ["ro"] and not ends_by_itself(name, services):
                yield f"{name}: {place} must be read-only"
    yield from (f"volume {volume} is used by nobody" for volume in declared if volume not in places)


def _dockerfile(text: str, services: Mapping[str, Service]) -> Iterator[str]:
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        if not _IMAGE.fullmatch(image):
            yield f"base image {image} is not NAME:x.y.z without a host"
    user = re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1:]
    if user != sorted({str(service.get("user")) for service in services.values() if is_ours(service)}):
        yield f"USER {user} is not the user that the services run as"
    if "--require-hashes" not in text:
        yield "packages are not checked against their hashes"
    made = set(text.split())
    for service in services.values():
        if is_ours(service):
            places = [mount.split(":")[1] for mount in service.get("volumes", [])]
            yield from (f"does not make {place}" for place in places if place not in made)
