"""A ConfigMap's volume, written as kubelets do it."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

DATA, NEW_DATA = "..data", "..data_tmp"


def write_config_map(volume: Path, files: Mapping[str, str], *, links_first: bool = False) -> None:
    """Puts these files into the volume in the steps of kubernetes pkg/volume/util/atomic_writer.go, Write.

    `links_first`: older kubelets link new files before they swap the folder, newer ones afterwards.
    """
    data = volume / DATA
    before = data.readlink() if data.is_symlink() else None
    folder = Path(mkdtemp(prefix=f"..{datetime.now(UTC):%Y_%m_%d_%H_%M_%S}.", dir=volume))
    folder.chmod(0o755)
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    if links_first:
        _link(volume, files)
    (volume / NEW_DATA).symlink_to(folder.name)
    (volume / NEW_DATA).rename(data)
    _link(volume, files)
    if before is not None:
        for gone in (volume / before).iterdir():
            if gone.name not in files:
                (volume / gone.name).unlink()
        shutil.rmtree(volume / before)


def _link(volume: Path, files: Mapping[str, str]) -> None:
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(Path(DATA) / name)
