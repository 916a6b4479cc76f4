"""A power cut without pulling a plug, and volumes small enough to fill. Both need root; without it: skipped.

A file system in an image file is told to stop (`xfs_io -x -c shutdown`): every later write fails and what was
not synced is gone, as after a cut. It is an orderly stop: torn sectors and cards that lie need other tests.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.servers import needs
from tests.waiting import until

FileSystem = Literal["ext4", "xfs"]
_MAKE = {"ext4": ["mkfs.ext4", "-qF"], "xfs": ["mkfs.xfs", "-q", "-f"]}
_SIZE_MB = {"ext4": 64, "xfs": 320}


def needs_mounts() -> None:
    """Skip the test (fail in CI) unless this machine lets us mount."""
    if os.geteuid() == 0 and Path("/dev/loop-control").exists():
        return
    text = "power cuts and small volumes need root and loop devices"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


class Volume:
    """A mounted image file that can lose its power; programs with open files on it must be killed after."""

    def __init__(self, image: Path, mount: Path) -> None:
        self.image = image
        self.mount = mount
        self.cuts = 0

    async def cut(self) -> None:
        """The power goes: what is not synced is lost, all later I/O on open files fails.

        Stop (SIGSTOP) whoever writes first. A sync that is under way during the cut may return success for
        data that is not there after it (11 of 40 cuts with a bare write and fdatasync): the kernel finds its
        transaction gone and takes it for done. After a real cut nobody is left to believe that.
        """
        await _run(needs("xfs_io"), "-x", "-c", "shutdown", str(self.mount))
        self.cuts += 1
        try:
            (self.mount / ".probe").touch()
        except OSError:
            return
        raise RuntimeError("the cut did not take effect: the volume still takes writes")

    async def remount(self, timeout_s: float = 10) -> None:
        """The power is back: the file system replays its journal. The programs of before must be dead."""

        async def unmounted() -> bool:
            return await _try("umount", str(self.mount))

        await until(unmounted, timeout_s, f"unmount {self.mount} (does a killed program still hold it?)")
        await _run("mount", "-o", "loop", str(self.image), str(self.mount))


@asynccontextmanager
async def power(folder: Path, kind: FileSystem = "ext4", size_mb: int | None = None) -> AsyncIterator[Volume]:
    """A volume under ``folder`` (its image beside it), unmounted and removed at the end."""
    needs_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    image, mount = folder / "volume.img", folder / "volume"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate((size_mb or _SIZE_MB[kind]) << 20)
    maker, *options = _MAKE[kind]
    await _run(needs(maker), *options, str(image))
    await _run("mount", "-o", "loop", str(image), str(mount))
    try:
        yield Volume(image, mount)
    finally:
        await _unmount(mount)
        image.unlink()


class SmallVolume:
    """A tmpfs of a given size; ``resize`` gives it room again."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount

    async def resize(self, size_kb: int) -> None:
        """Another size, while it is in use."""
        await _run("mount", "-o", f"remount,size={size_kb}k", str(self.mount))


@asynccontextmanager
async def small_volume(folder: Path, size_kb: int) -> AsyncIterator[SmallVolume]:
    """A tmpfs mounted at ``folder``, unmounted at the end."""
    needs_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    await _run("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder))
    try:
        yield SmallVolume(folder)
    finally:
        await _unmount(folder)


async def _unmount(mount: Path) -> None:
    if not await _try("umount", str(mount)):
        await _run("umount", "--lazy", str(mount))
    mount.rmdir()


async def _run(*command: str) -> None:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


async def _try(*command: str) -> bool:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30)
    return done.returncode == 0
