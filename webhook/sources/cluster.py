"""The way to a cluster's API: from within a pod by its service account, else by a kubeconfig."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webhook.regular_files import read_file_bytes

if TYPE_CHECKING:  # who speaks to no cluster is spared its import
    from kubernetes import client

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# An answer that does not come is no answer: of the connection, and of each part of what follows.
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

# A token in a header: visible ASCII. Of anything else the HTTP client would make an error that repeats it.
_TOKEN = re.compile(rb"[!-~]+")

# How many objects a list is asked for at once, as kubectl and client-go do: of namespaces about half a megabyte.
PAGE = 500


def metadata_only(kind: str) -> str:
    """What to accept for names and labels without the rest: PartialObjectMetadata, or PartialObjectMetadataList.

    Source: kubernetes.io, API concepts, "Metadata-only fetches".
    """
    return f"application/json;as={kind};g=meta.k8s.io;v=v1"


class UnreachableCluster(Exception):
    """The cluster cannot be asked; the message says what was tried, and what is accepted."""


def has_service_account(folder: Path = SERVICE_ACCOUNT) -> bool:
    """Whether this process runs in a pod that may speak to its API server."""
    return (folder / "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ


def connect(
    kubeconfig: Path | None = None, context: str | None = None, *, service_account: Path = SERVICE_ACCOUNT
) -> "client.ApiClient":
    """A client of the cluster that the kubeconfig's context names; without either, of the pod's own, if it has one.

    The service account's token is read again for each request. Raises UnreachableCluster.
    """
    from kubernetes import client, config

    configuration: Any = client.Configuration()  # its types have no hook
    load: Any = config  # has no types
    try:
        if kubeconfig is None and context is None and has_service_account(service_account):
            token, authority = service_account / "token", service_account / "ca.crt"
            load.incluster_config.InClusterConfigLoader(str(token), str(authority)).load_and_set(configuration)
            configuration.refresh_api_key_hook = _reading(token)
        else:
            file = None if kubeconfig is None else str(kubeconfig)
            load.load_kube_config(config_file=file, context=context, client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        named = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        where = f"context {context} of {named}" if context else str(named)
        raise UnreachableCluster(
            f"{where}: {error}; accepted: --kubeconfig FILE, --context NAME, KUBECONFIG"
        ) from error
    return client.ApiClient(configuration)


def _reading(token: Path) -> Callable[["client.Configuration"], None]:
    """Puts the token as it is now before a request. Raises OSError where there is none.

    The client's own hook does so once a minute at most: after a 401 it would show the refused token for that long.
    """

    def read(configuration: "client.Configuration") -> None:
        text = read_file_bytes(token).strip()
        if not _TOKEN.fullmatch(text):
            raise OSError(f"{token} holds no token")
        bearer = f"Bearer {text.decode()}"
        configuration.api_key = dict.fromkeys(configuration.api_key, bearer)  # its name differs between versions

    return read
