"""A question from a shell to a running core, through its local socket (protocol: ``server/local.py``)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from fengsui.errors import UsageError
from fengsui.viewer import Viewer

ANSWER_S = 10.0


def ask(data: Path, viewer: Viewer, do: str, **named: object) -> Any:
    """The answer of the core whose data directory is ``data``.

    Raises:
        UsageError: There is no answer, or it is a refusal; the text says why.
    """
    path = data / "run" / "core.sock"
    units = None if viewer.units is None else sorted(viewer.units)
    person = {"person": viewer.person, "roles": sorted(viewer.roles), "units": units}
    request = {"id": 1, "do": do, "viewer": person, **named}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            with connection.makefile("rwb") as lines:
                lines.write(json.dumps(request).encode() + b"\n")
                lines.flush()
                answer = json.loads(lines.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the core does not answer on {path}; start it, or name its --data ({error})"
        ) from error
    if "ok" not in answer:
        raise UsageError(answer.get("error", {}).get("text", "the core hung up; try again"))
    return answer["ok"]
