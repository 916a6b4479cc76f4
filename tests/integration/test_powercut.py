"""The power cut must lose what was not synced and keep what was; else it proves nothing about a spool."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.powercut import FileSystem, power, small_volume


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_a_cut_keeps_synced_data_and_loses_the_rest(tmp_path: Path, kind: FileSystem) -> None:
    """After a cut and remount the synced half is there and the unsynced half is not."""
    async with power(tmp_path, kind) as volume:
        file = os.open(volume.mount / "data", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(file, b"synced")
            os.fsync(file)
            folder = os.open(volume.mount, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            os.write(file, b" and not")
            await volume.cut()
            with pytest.raises(OSError, match="Input/output") as error:
                os.fsync(file)
            assert error.value.errno == errno.EIO
        finally:
            os.close(file)
        await volume.remount()
        assert (volume.mount / "data").read_bytes() == b"synced"
        assert volume.cuts == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
async def test_a_small_volume_fills_and_can_be_given_room(tmp_path: Path) -> None:
    """A volume says ENOSPC when it is full, and takes more once it is resized."""
    async with small_volume(tmp_path / "small", 256) as volume:
        with pytest.raises(OSError, match="No space left"):
            (volume.mount / "big").write_bytes(bytes(1 << 20))
        await volume.resize(4096)
        (volume.mount / "big").write_bytes(bytes(1 << 20))
    assert not (tmp_path / "small").exists()
