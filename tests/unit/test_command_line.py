"""The program as a whole: help that starts fast, versions, and what is no command."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from webhook import __version__
from webhook.cli.main import COMMANDS, main
from webhook.cli.policy import COMMANDS as POLICY_COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command_and_what_it_is_for(option: str) -> None:
    result = CliRunner().invoke(main, [option])
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert [command for command, purpose in COMMANDS.items() if f"{command} {purpose}" not in words] == []


def test_without_a_command_there_is_help_and_an_error_status() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_the_packages(option: str) -> None:
    assert CliRunner().invoke(main, [option]).stdout == f"task-resources, version {__version__}\n"


def test_what_is_no_command_is_named() -> None:
    result = CliRunner().invoke(main, ["sevre"])
    assert result.exit_code == 2
    assert "No such command 'sevre'" in result.stderr


@pytest.mark.parametrize("command", ["review", "policy", *(f"policy {name}" for name in POLICY_COMMANDS)])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "-h"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {command} ")


def test_neither_help_nor_a_check_imports_the_server() -> None:
    """Both run in editors and hooks; the server's libraries take most of the time that a start takes."""
    program = (
        "import sys\n"
        "from webhook.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "loaded = {'uvicorn', 'fastapi', 'kubernetes', 'prometheus_client', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(f'imports {sorted(loaded)}' if loaded else 0)\n"
    )
    for arguments in (
        ["--help"],
        ["policy", "check", "examples/policies"],
        ["policy", "test", "examples/policy-tests", "--color", "never"],
        ["policy", "quotas", "vision-production", "--policy", "examples/policies"],
    ):
        result = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_the_module_is_the_program() -> None:
    result = subprocess.run([sys.executable, "-m", "webhook", "--version"], capture_output=True, text=True)
    assert result.stdout == f"task-resources, version {__version__}\n"
