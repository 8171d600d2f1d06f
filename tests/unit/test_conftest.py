"""CI skips nothing."""

from pathlib import Path

import pytest

SKIPS = {
    "in-a-test": "import pytest\ndef test_it(): pytest.skip('no network')",
    "by-a-mark": "import pytest\n@pytest.mark.skip(reason='later')\ndef test_it(): pass",
    "of-a-module": "import pytest\npytest.skip('not here', allow_module_level=True)",
}


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS.keys())
def test_what_is_skipped_fails_in_ci(source: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess()
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*skipped, which CI does not accept*"])
