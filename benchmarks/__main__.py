"""`python -m benchmarks`: the comparison; the other measurements are its commands."""

import sys
from pathlib import Path

import click

_rounds = click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 50))
_seconds = click.option("--seconds", default=2.0, show_default=True, help="Load on each server and review in a round.")


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """How fast the webhook is, in ratios against what the same machine does in the same minute."""
    if context.invoked_subcommand is None:
        context.invoke(compare)


@main.command()
@_rounds
@_seconds
def compare(rounds: int, seconds: float) -> None:
    """The webhook next to a bare echo and, where Go is at hand, a controller-runtime webhook."""
    from benchmarks.compare import compare

    click.echo(compare(rounds=rounds, seconds=seconds))


@main.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_rounds
@_seconds
def turns(other: Path, rounds: int, seconds: float) -> None:
    """This build and the checkout OTHER, in turns."""
    from benchmarks.turns import turns

    click.echo(turns(other, rounds=rounds, seconds=seconds))


@main.command()
def hostile() -> None:
    """Pods that grow in two dimensions at once, next to ordinary ones of their size."""
    from benchmarks.hostile import hostile

    click.echo(hostile())


@main.command()
def soak() -> None:
    """200,000 reviews; exits 1 when memory is above 80 MiB or still growing."""
    from benchmarks.soak import soak

    text, is_fine = soak()
    click.echo(text)
    sys.exit(not is_fine)


@main.command()
@_rounds
@_seconds
def scale(rounds: int, seconds: float) -> None:
    """10,000 project policies next to one."""
    from benchmarks.scale import scale

    click.echo(scale(rounds=rounds, seconds=seconds))


@main.command()
@_rounds
@_seconds
@click.option("--saturated", is_flag=True, help="With as many reviews as are answered, and with busy neighbours.")
@click.option(
    "--other",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    help="With --saturated: another checkout, whose webhook is measured in turns with this one.",
)
def reload(rounds: int, seconds: float, saturated: bool, other: Path | None) -> None:
    """Policies read again while reviews come in."""
    from benchmarks.reload import reload, reload_saturated

    if saturated:
        click.echo(reload_saturated(rounds=rounds, seconds=seconds, other=other))
    else:
        click.echo(reload(rounds=rounds, seconds=seconds))


@main.command()
@_rounds
@_seconds
@click.option("--count", default=100_000, show_default=True, type=click.IntRange(1000), help="Of a server in memory.")
@click.option("--real", default=5_000, show_default=True, type=click.IntRange(0), help="Of a real kube-apiserver.")
def namespaces(count: int, real: int, rounds: int, seconds: float) -> None:
    """How long 100,000 namespaces take to be known, and what they take of memory."""
    from benchmarks.namespaces import namespaces

    click.echo(namespaces(count=count, real=real, rounds=rounds, seconds=seconds))


@main.command()
@click.option("--pods", default=500, show_default=True, type=click.IntRange(10, 10_000))
def creates(pods: int) -> None:
    """Pod creations through a real kube-apiserver, with the webhook and without."""
    from benchmarks.creates import creates

    click.echo(creates(pods))


@main.command()
@click.argument("cases", nargs=-1)
@_rounds
@click.option("--seconds", default=15.0, show_default=True, help="Of each case in a round.")
@click.option("--rate", default=24.0, show_default=True, help="Pods that are created in a second.")
@click.option("--connection-max-requests", default=5, show_default=True, help="As of serve: few make new ones often.")
def reliability(cases: tuple[str, ...], rounds: int, seconds: float, rate: float, connection_max_requests: int) -> None:
    """Pods that are lost while something changes, or too much comes in: all cases, or these."""
    from benchmarks.reliability import CASES, reliability

    if unknown := set(cases) - CASES.keys():
        raise click.UsageError(f"{', '.join(unknown)}: the cases are {', '.join(CASES)}")
    options = {"--connection-max-requests": connection_max_requests}
    click.echo(reliability(cases or [*CASES], rounds=rounds, seconds=seconds, rate=rate, options=options))


@main.command()
@_rounds
@click.option("--pods", default=100_000, show_default=True, type=click.IntRange(100, 10_000_000))
def dump(rounds: int, pods: int) -> None:
    """A dump of a cluster through `task-resources review --summary`, next to json.load."""
    from benchmarks.dump import dump

    click.echo(dump(pods, rounds=rounds))


@main.command()
def decision() -> None:
    """Microseconds of each step in one process, without the network."""
    from benchmarks.decision import quantities, steps

    click.echo(f"{steps()}\n\n{quantities()}")


@main.command()
@click.argument("sample", default="task-six-operations")
def profile(sample: str) -> None:
    """Which functions of the core take the time."""
    from benchmarks.decision import profile

    click.echo(profile(sample))


if __name__ == "__main__":
    main()
