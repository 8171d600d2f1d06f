"""Tolerations: which of them makes which other one needless, and how they read.

Source of the rules: kubernetes pkg/util/tolerations isSuperset and MergeTolerations.
"""

from webhook.pod import Toleration


def covers(given: Toleration, wanted: Toleration) -> bool:
    """Whether every taint that `wanted` tolerates is tolerated by `given`, and as long."""
    if not _covers_key_and_value(given, wanted):
        return False
    if given.effect and given.effect != wanted.effect:
        return False
    if given.toleration_seconds is None:
        return True
    # At most 0 is at once, as the API server reads it.
    return wanted.toleration_seconds is not None and max(0, wanted.toleration_seconds) <= max(
        0, given.toleration_seconds
    )


def _covers_key_and_value(given: Toleration, wanted: Toleration) -> bool:
    if given.operator == "Exists":
        return not given.key or given.key == wanted.key
    # Operators behind feature gates (Lt, Gt) cover their like only.
    return (
        given.key == wanted.key
        and (given.operator or "Equal") == (wanted.operator or "Equal")
        and (given.value or "") == (wanted.value or "")
    )


def tolerates_every_key(toleration: Toleration) -> bool:
    """Whether it is for taints of any key."""
    return not toleration.key and toleration.operator == "Exists"


def toleration_text(toleration: Toleration) -> str:
    """As `kubectl describe` prints it: `nvidia.com/gpu:NoSchedule op=Exists`, `pool=spot:NoSchedule`."""
    text = toleration.key or ""
    if toleration.value:
        text += f"={toleration.value}"
    if toleration.effect:
        text += f":{toleration.effect}"
    if toleration.operator and toleration.operator != "Equal":
        text = f"{text} op={toleration.operator}".lstrip()
    return text if toleration.toleration_seconds is None else f"{text} for {toleration.toleration_seconds}s"
