"""One admission review, as far as it is read: what is to be done with which pod, where, and by whom."""

import msgspec

from webhook.pod import Pod

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
NODES_GROUP = "system:nodes"

# Who makes the pods of DaemonSets: a service account, or where controllers have none of their own, all as one.
DAEMON_SET_CONTROLLER = "system:serviceaccount:kube-system:daemon-set-controller"
DAEMON_SET_CONTROLLERS = (DAEMON_SET_CONTROLLER, "system:kube-controller-manager")


class UserInfo(msgspec.Struct, frozen=True, gc=False):
    """Who created the pod, as far as the API server knows: often a controller's service account."""

    username: str = ""
    groups: list[str] | None = None


class Review(msgspec.Struct, frozen=True, gc=False):
    """What the API server asks: may this operation on this object go on?

    `pod` and `old_pod` are None where the object is not a Pod. `namespace` is the request's, the only one to trust.
    `too_large` is what of the pod takes too much to be read, in words: then `pod` is an empty one.
    """

    uid: str
    kind: str
    operation: str
    sub_resource: str
    namespace: str
    name: str
    user_info: UserInfo
    dry_run: bool
    pod: Pod | None
    old_pod: Pod | None
    too_large: str | None = None

    @property
    def is_creation(self) -> bool:
        return self.pod is not None and self.operation == "CREATE" and not self.sub_resource

    @property
    def is_resize(self) -> bool:
        return self.pod is not None and self.operation == "UPDATE" and self.sub_resource == "resize"

    @property
    def is_mirror(self) -> bool:
        """Whether a kubelet shows one of its static pods; the annotation alone anybody could set (G8)."""
        return (
            self.pod is not None
            and MIRROR_ANNOTATION in self.pod.annotations
            and NODES_GROUP in (self.user_info.groups or ())
        )

    @property
    def is_of_daemon_set(self) -> bool:
        """Whether the DaemonSet controller makes the pod; the owner alone anybody could write (G8)."""
        return (
            self.user_info.username in DAEMON_SET_CONTROLLERS
            and self.pod is not None
            and any(owner.kind == "DaemonSet" for owner in self.pod.metadata.owner_references or ())
        )
