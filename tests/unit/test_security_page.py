"""What SECURITY.md says is held is held by a test that there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text())


def test_every_test_that_the_threat_model_names_exists() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    there = {
        name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert NAMED
    assert [name for name in NAMED if name not in there] == []


def test_every_package_is_installed_by_its_hash() -> None:
    for script in ("Makefile", "tools/image.sh", "tools/programs/build.py"):
        assert "--require-hashes" in (ROOT / script).read_text()
    for lock in (ROOT / "requirements").glob("*.txt"):
        pins = re.split(r"\n(?=\w)", lock.read_text())[1:]
        assert pins
        assert [pin for pin in pins if not re.match(r"\S+==\S+ .*\n +--hash=sha256:", pin)] == []
