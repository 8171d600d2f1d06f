"""`task-resources certs`: a CA and a serving certificate, made or renewed."""

from pathlib import Path

import click

from webhook.certificates import InvalidCertificateFiles, ensure_certificates, is_name


def _name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None and not is_name(name):
        raise click.BadParameter(f"{name!r} is no DNS name or IP address", context, parameter)
    return name


def _names(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        _name(context, parameter, name)
    return names


@click.command(short_help="Make a CA and a serving certificate, or renew them.")
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default="certs", show_default=True)
@click.option(
    "--dns-name",
    "names",
    multiple=True,
    required=True,
    callback=_names,
    metavar="NAME",
    help="A name or IP address by which the API server calls: NAME.NAMESPACE.svc for a Service. Repeatable.",
)
@click.option(
    "--client",
    callback=_name,
    metavar="NAME",
    help="Make client.crt and client.key, too: what the API server calls with where serve has --client-ca.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long it is valid.")
@click.option(
    "--renew-before-days",
    type=click.IntRange(0, 3650),
    default=30,
    show_default=True,
    help="Renew what ends within so many days.",
)
@click.option("--force", is_flag=True, help="Replace all that is there, the CA included.")
def certs(
    folder: Path, names: tuple[str, ...], client: str | None, days: int, renew_before_days: int, force: bool
) -> None:
    """Writes ca.crt, ca.key, tls.crt and tls.key; what is still good stays.

    While the CA is renewed, ca.crt holds the old one beside the new: put all of it into caBundle first, and the API
    server trusts both.
    """
    if renew_before_days >= days:
        raise click.UsageError(f"--renew-before-days {renew_before_days} must be less than --days {days}")
    try:
        made = ensure_certificates(
            folder, names, days=days, renew_before_days=renew_before_days, client=client, force=force
        )
    except InvalidCertificateFiles as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error
    outcomes = [("CA", made.authority), ("serving certificate", made.serving)]
    if client is not None:
        outcomes.append(("client certificate", made.client))
    for what, why in outcomes:
        click.echo(f"{what}: {'kept' if why is None else f'made, as {why}'}", err=True)
    click.echo(f"{folder / 'tls.crt'} is valid until {made.not_after:%Y-%m-%d} for {', '.join(names)}", err=True)
