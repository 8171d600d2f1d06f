"""R1 to R6 and R9 written down a second time, plainly, for one container and cpu: both agree on every combination."""

from itertools import product

import jsonpatch
import msgspec
import pytest

from webhook.admission import patch_json
from webhook.effective import EffectivePolicy, Maxima, MissingLimit
from webhook.patch import resource_operations
from webhook.pod import Resources
from webhook.quantity import Quantity, parse_quantity
from webhook.resources import NO_POD_LEVEL, Case, ContainerResources, decide_container
from webhook.setting import Origin, Setting

ORIGIN = Origin("p", "platform")

# Whole cores; None is absent.
Cores = int | None


class Reference:
    """The policy in cores, and what it makes of a container."""

    def __init__(self, minimum: Cores, default_request: Cores, default: Cores, maximum: Cores, missing: str) -> None:
        self.maximum, self.missing = maximum, missing
        self.minimum = minimum if minimum is None or maximum is None else min(minimum, maximum)
        self.default, self.default_request = self.fitted(default), self.fitted(default_request)

    def fitted(self, default: Cores) -> Cores:
        if default is None:
            return None
        lowered = default if self.maximum is None else min(default, self.maximum)
        return lowered if self.minimum is None else max(lowered, self.minimum)

    def missing_limit(self, request: Cores) -> Cores:
        if self.missing == "Unset":
            return None
        return request if self.missing == "Request" and request else self.maximum

    def asked(self, own_limit: Cores, own_request: Cores, limit: Cores, request: Cores) -> tuple[Cores, Cores]:
        """R1 and R2; a zero limit is unset, and so is a zero request beside it."""
        own_limit = own_limit or None
        if not own_request and own_limit is None:
            own_request = None
        if limit is None and request is None:
            return own_limit, own_request
        if limit is None:
            assert request is not None
            return (None if own_limit is None else max(own_limit, request)), request
        if request is None:
            return limit, limit if own_request is None else min(own_request, limit)
        return limit, request

    def decided(self, limit: Cores, request: Cores, *, is_primary: bool, is_annotated: bool) -> tuple[Cores, Cores]:
        """R3 to R5, of what was asked."""
        has_say = self.maximum is not None or is_annotated
        if is_primary:
            if limit is None:
                if request is None:
                    request = self.default_request if self.default_request is not None else self.default
                    limit = self.default
                limit = limit if limit is not None else self.missing_limit(request)
                has_say = has_say or limit is not None
                if limit is not None and request is None:
                    request = self.minimum or 0
            if self.minimum is not None:
                has_say = has_say or (limit is not None and limit < self.minimum)
                limit = None if limit is None else max(limit, self.minimum)
                request = None if request is None else max(request, self.minimum)
        elif self.maximum is not None and limit is None:
            limit, request = self.maximum, request or 0
        if self.maximum is not None:
            limit = None if limit is None else min(limit, self.maximum)
            request = None if request is None else min(request, self.maximum)
        if has_say and limit is not None and request is not None:
            request = min(request, limit)
        return limit, request


def policy_of(minimum: Cores, default_request: Cores, default: Cores, maximum: Cores, missing: str) -> EffectivePolicy:
    def of(cores: Cores) -> dict[str, Setting[Quantity]]:
        return {} if cores is None else {"cpu": Setting(parse_quantity(str(cores)), ORIGIN)}

    word: MissingLimit = "Unset" if missing == "Unset" else "Request" if missing == "Request" else "Maximum"
    return EffectivePolicy(
        missing_limit={"cpu": Setting(word, ORIGIN)},
        default_request=of(default_request),
        default_limit=of(default),
        minimum=of(minimum),
        maximum=Maxima({**of(maximum)}),
    ).fitted()


def amounts(cores: Cores) -> dict[str, Quantity]:
    return {} if cores is None else {"cpu": parse_quantity(str(cores))}


def stored(container: ContainerResources, limit: Cores, request: Cores) -> tuple[Cores, Cores]:
    """Limit and request as the API server has them after the patch."""
    given = {
        side: {"cpu": str(cores)} for side, cores in (("limits", limit), ("requests", request)) if cores is not None
    }
    operations = patch_json(tuple(resource_operations(container)))
    document = {"spec": {"containers": [{"resources": given}]}}
    result = jsonpatch.JsonPatch(operations).apply(document)["spec"]["containers"][0]["resources"]
    found = (result.get("limits") or {}).get("cpu")
    asked = (result.get("requests") or {}).get("cpu", found)
    return None if found is None else int(found), None if asked is None else int(asked)


def quantities(cores: Cores) -> dict[str, msgspec.Raw] | None:
    return None if cores is None else {"cpu": msgspec.Raw(f'"{cores}"'.encode())}


@pytest.mark.parametrize("missing", ["Maximum", "Request", "Unset"])
@pytest.mark.parametrize("maximum", [None, 1, 4])
@pytest.mark.parametrize("minimum", [None, 2])
def test_every_combination(minimum: Cores, maximum: Cores, missing: str) -> None:
    for default_request, default in product((None, 3), (None, 4)):
        reference = Reference(minimum, default_request, default, maximum, missing)
        policy = policy_of(minimum, default_request, default, maximum, missing)
        for is_primary, own_limit, own_request, limit, request, is_deny in product(
            (True, False), (None, 0, 3, 6), (None, 0, 1, 6), (None, 1, 5), (None, 2, 6), (False, True)
        ):
            came = own_request if own_request is not None else own_limit  # the API server has filled it in
            container = ContainerResources(
                "main",
                "/spec/containers/0",
                "primary" if is_primary else "regular",
                Resources(limits=quantities(own_limit), requests=quantities(came)),
            )
            case = Case(policy, deny=is_deny)
            decide_container(container, case, NO_POD_LEVEL, amounts(request), amounts(limit))

            asked = reference.asked(own_limit, came, limit, request)
            is_annotated = limit is not None or request is not None
            what = (reference.__dict__, is_primary, own_limit, came, limit, request, is_deny)
            if is_deny and maximum is not None and max(asked[0] or 0, asked[1] or 0) > maximum:
                assert case.refusals, what
                continue
            assert not case.refusals, what
            wanted_limit, wanted_request = reference.decided(*asked, is_primary=is_primary, is_annotated=is_annotated)
            if wanted_limit is None and own_limit == 0 and not wanted_request:
                wanted_limit = 0  # R9: a zero limit goes only where it would stay beside a request above zero
            if wanted_request is None:
                wanted_request = came
            assert stored(container, own_limit, came) == (wanted_limit, wanted_request), what
