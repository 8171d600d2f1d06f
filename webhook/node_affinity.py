"""Required node affinity: what a pod's terms ask of nodes already, and how a requirement reads.

Source of the rules: kubernetes component-helpers scheduling/corev1/nodeaffinity: terms are alternatives, the
requirements of a term hold together, and a term without any fits no node.
"""

from collections.abc import Sequence

from webhook.pod import NodeRequirement, NodeSelectorTerm, Pod


def required_terms(pod: Pod) -> Sequence[NodeSelectorTerm]:
    """The alternatives that the pod requires of its node; none where it requires nothing."""
    affinity = pod.spec.affinity
    node_affinity = affinity.node_affinity if affinity is not None else None
    required = node_affinity.required if node_affinity is not None else None
    return (required.node_selector_terms or ()) if required is not None else ()


def implies(given: NodeRequirement, wanted: NodeRequirement) -> bool:
    """Whether every node that meets `given` meets `wanted`."""
    if given.key != wanted.key:
        return False
    given_values, wanted_values = set(given.values or ()), set(wanted.values or ())
    match given.operator, wanted.operator:
        case "In", "In":
            return bool(given_values) and given_values <= wanted_values
        case "In", "NotIn":
            return bool(given_values) and not given_values & wanted_values
        case "NotIn", "NotIn":
            return given_values >= wanted_values
        case (("In" | "Exists" | "Gt" | "Lt"), "Exists"):
            return True
        case "DoesNotExist", ("DoesNotExist" | "NotIn"):
            return True
    return given.operator == wanted.operator and given_values == wanted_values


def excludes(given: NodeRequirement, wanted: NodeRequirement) -> bool:
    """Whether no node meets both, as far as the two alone tell."""
    if given.key != wanted.key:
        return False
    given_values, wanted_values = set(given.values or ()), set(wanted.values or ())
    match given.operator, wanted.operator:
        case "In", "In":
            return not given_values & wanted_values
        case "In", "NotIn":
            return given_values <= wanted_values
        case "NotIn", "In":
            return wanted_values <= given_values
        case (("In" | "Exists" | "Gt" | "Lt"), "DoesNotExist"):
            return True
        case "DoesNotExist", ("In" | "Exists" | "Gt" | "Lt"):
            return True
    return False


def requirement_text(requirement: NodeRequirement) -> str:
    """In the words of the API: `accelerator In [a100, h100]`, `gpu-partition-size DoesNotExist`."""
    values = f" [{', '.join(requirement.values)}]" if requirement.values else ""
    return f"{requirement.key} {requirement.operator}{values}".lstrip()
