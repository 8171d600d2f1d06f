"""The way to a cluster's API: from within a pod by its service account, else by a kubeconfig."""

import os
from pathlib import Path
from typing import Any

from kubernetes import client, config

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# An answer that does not come is no answer: of the connection, and of each part of what follows.
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0


class UnreachableCluster(Exception):
    """The cluster cannot be asked; the message says what was tried, and what is accepted."""


def has_service_account() -> bool:
    """Whether this process runs in a pod that may speak to its API server."""
    return (SERVICE_ACCOUNT / "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ


def connect(kubeconfig: Path | None = None, context: str | None = None) -> client.ApiClient:
    """A client of the cluster that the kubeconfig's context names; without either, of the pod's own, if it has one.

    The service account's token is read again when it has been renewed. Raises UnreachableCluster.
    """
    configuration = client.Configuration()
    load: Any = config  # has no types
    try:
        if kubeconfig is None and context is None and has_service_account():
            load.load_incluster_config(client_configuration=configuration)
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
