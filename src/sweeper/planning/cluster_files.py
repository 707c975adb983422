"""Nodes of a cluster, read from the file that starts it: of Ray's cluster launcher, or of KubeRay."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sweeper.config import HardwareSpec, copy_within_limits, load_hardware_specs, read_limited_text
from sweeper.errors import UsageError
from sweeper.scheduling import Node

MAX_NODES = 10_000
"""A larger number counts as a missing limit: KubeRay's own default for `maxReplicas` is two billion."""
MAX_GPUS_PER_NODE = 1_000
"""Largest plausible number: every GPU becomes an object of its own in the ledger."""
RAY_MAX_WORKERS = 2
"""Ray's default of `max_workers`."""
_INSTANCE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_KUBERAY_SPEC_PATHS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
_Mapping: TypeAlias = dict[object, object]
"""A mapping of the YAML; nothing is known of its values."""
_Hardware: TypeAlias = Mapping[str, HardwareSpec]
_QUANTITY_PATTERN = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(m?)")


@dataclass(frozen=True)
class NodeType:
    """Machines of one type in a cluster."""

    name: str
    cpus: float
    gpus: int
    count: int
    instance_type: str | None
    hardware: str | None
    """Their GPU, a name of `configs/hardware/`; None without GPUs, or if no file there lists this instance type."""
    usd_per_hour: float | None
    """On-demand price of one GPU-hour."""


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster at its full size. Machines that offer Ray no cores, such as a small head, are left out."""

    name: str
    node_types: tuple[NodeType, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every machine, named by its type and a number."""
        return tuple(
            Node(f"{node_type.name}-{i}", node_type.cpus, node_type.gpus)
            for node_type in self.node_types
            for i in range(1, node_type.count + 1)
        )

    @property
    def total_gpus(self) -> int:
        """GPUs of all machines."""
        return sum(node_type.gpus * node_type.count for node_type in self.node_types)

    @property
    def gpu_names(self) -> dict[str, str | None]:
        """Machine type -> its GPU, for types with GPUs."""
        return {node_type.name: node_type.hardware for node_type in self.node_types if node_type.gpus}

    def list_gpu_kinds(self, known_hardware: Mapping[str, HardwareSpec]) -> list[HardwareSpec]:
        """List its kinds of GPU; empty if one of them is unknown."""
        names = set(self.gpu_names.values())
        kinds = [kind for name, kind in known_hardware.items() if name in names]
        return kinds if len(kinds) == len(names) else []

    def find_smallest_gpu(self, known_hardware: Mapping[str, HardwareSpec]) -> HardwareSpec | None:
        """Return its GPU with the least memory; None if one of them is unknown."""
        return min(self.list_gpu_kinds(known_hardware), key=lambda kind: kind.memory_gib or 0.0, default=None)


def read_cluster(path: Path) -> ClusterSpec:
    """Read the cluster that a launcher's file describes, scaled up as far as it allows.

    Args:
        path: YAML of Ray's cluster launcher or of KubeRay. Its tags are never executed.

    Raises:
        UsageError: the file cannot be read or describes no usable cluster.
    """
    documents = _load_documents(path)
    try:
        name, node_types = _parse_cluster(documents, load_hardware_specs())
        if sum(node_type.count for node_type in node_types) > MAX_NODES:
            raise _ClusterFileError(f"more than {MAX_NODES:,} machines: set their maximum number")
        if not any(node_type.count for node_type in node_types):
            raise _ClusterFileError("no machine that offers Ray any CPU")
    except _ClusterFileError as error:
        raise UsageError(
            "cluster",
            requested=str(path),
            found=str(error),
            hint="give a file such as cluster/aws/g5.yaml or cluster/kuberay/raycluster.yaml",
        ) from error
    return ClusterSpec(name or path.stem, tuple(node_type for node_type in node_types if node_type.count))


class _ClusterFileError(ValueError):
    """A problem of the file; the message names it."""


def _parse_cluster(documents: Iterable[_Mapping], hardware: _Hardware) -> tuple[str | None, list[NodeType]]:
    """Return the name and the machine types of the first document that describes a cluster."""
    for document in documents:
        if "available_node_types" in document:
            return _string_or_none(document.get("cluster_name")), _parse_launcher_file(document, hardware)
        kind = _string_or_none(document.get("kind"))
        if kind in _KUBERAY_SPEC_PATHS:
            metadata = _require_mapping(document.get("metadata", {}), "metadata")
            return _string_or_none(metadata.get("name")), _parse_kuberay_file(document, kind, hardware)
    raise _ClusterFileError(
        "neither `available_node_types` (Ray's cluster launcher) nor a RayCluster, RayJob or RayService"
    )


def _load_documents(path: Path) -> list[_Mapping]:
    try:
        loaded = copy_within_limits(list(YAML(typ="safe", pure=True).load_all(read_limited_text(path))))
    except FileNotFoundError as error:
        raise UsageError(
            "cluster", requested=str(path), found="no such file", hint="see cluster/ for examples"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cluster", requested=str(path), found=f"cannot be read: {error}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        message = getattr(error, "problem", None) or str(error)
        raise UsageError("cluster", requested=str(path), found=f"not valid YAML: {message}") from error
    return [document for document in loaded if isinstance(document, dict)]


def _parse_launcher_file(document: _Mapping, hardware: _Hardware) -> list[NodeType]:
    """Apply Ray's rules: one head; `max_workers` of a type defaults to that of the cluster, for the head's type to 0.

    If the types add up to more than `max_workers` of the cluster, those with most GPUs come first: a trial that fits a
    cluster this file can start is then never reported as unplaceable.
    """
    total = _parse_count(document.get("max_workers", RAY_MAX_WORKERS), "max_workers")
    head = _string_or_none(document.get("head_node_type"))
    types = _require_mapping(document["available_node_types"], "available_node_types")
    if head not in types:
        raise _ClusterFileError(f"`head_node_type: {head}`, which is not among `available_node_types`")
    nodes = {name: _require_mapping(node, str(name)) for name, node in types.items()}
    sizes = {name: _parse_launcher_resources(str(name), node) for name, node in nodes.items()}
    counts = {}
    for name in sorted(nodes, key=lambda name: sizes[name], reverse=True):
        maximum = _parse_count(nodes[name].get("max_workers", 0 if name == head else total), f"{name}.max_workers")
        counts[name] = min(maximum, total)
        total -= counts[name]
    node_types = []
    for name, node in nodes.items():
        gpus, cpus = sizes[name]
        count = counts[name] + (name == head)
        node_types.append(_make_node_type(str(name), cpus, gpus, count, _read_instance_type(node), hardware))
    return node_types


def _parse_launcher_resources(name: str, node: _Mapping) -> tuple[int, float]:
    """Return (GPUs, CPUs) of a machine type."""
    resources = _require_mapping(node.get("resources", {}), f"{name}.resources")
    if "CPU" not in resources:
        raise _ClusterFileError(f"`{name}` without `resources: {{CPU: …, GPU: …}}` (the cloud is not queried here)")
    gpus = _parse_count(resources.get("GPU", 0), f"{name}.resources.GPU")
    return gpus, _parse_quantity(resources["CPU"], f"{name}.resources.CPU")


def _read_instance_type(node: _Mapping) -> str | None:
    config = _require_mapping(node.get("node_config", {}), "node_config")
    return _string_or_none(config.get("InstanceType")) or _string_or_none(config.get("machineType"))


def _parse_kuberay_file(document: _Mapping, kind: str, hardware: _Hardware) -> list[NodeType]:
    """Parse a manifest of KubeRay; with its autoscaler, groups have `maxReplicas`, otherwise `replicas`."""
    spec = _require_mapping(document.get("spec"), "spec")
    for key in _KUBERAY_SPEC_PATHS[kind]:
        spec = _require_mapping(spec.get(key), f"spec.{key}")
    has_autoscaler = spec.get("enableInTreeAutoscaling") is True
    head = _require_mapping(spec.get("headGroupSpec"), "headGroupSpec")
    node_types = [_parse_kuberay_group("head", head, 1, hardware)]
    groups = spec.get("workerGroupSpecs") or []
    if not isinstance(groups, list):
        raise _ClusterFileError("`workerGroupSpecs` is not a list")
    for group in (_require_mapping(group, "workerGroupSpecs") for group in groups):
        name = _string_or_none(group.get("groupName")) or f"workers {len(node_types)}"
        key = "maxReplicas" if has_autoscaler and "maxReplicas" in group else "replicas"
        replicas = _parse_count(group.get(key, 0), f"{name}.{key}")
        hosts = _parse_count(group.get("numOfHosts", 1), f"{name}.numOfHosts")
        node_types.append(_parse_kuberay_group(name, group, replicas * hosts, hardware))
    return node_types


def _parse_kuberay_group(name: str, group: _Mapping, count: int, hardware: _Hardware) -> NodeType:
    """Apply KubeRay's rules: `num-cpus` and `num-gpus` of `rayStartParams`, else the limits of the first container,
    else its requests. Fractions of a core are rounded up.
    """
    template = _require_mapping(group.get("template"), f"{name}.template")
    pod = _require_mapping(template.get("spec"), f"{name}.template.spec")
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers:
        raise _ClusterFileError(f"`{name}` has no container")
    container = _require_mapping(containers[0], f"{name} container")
    resources = _require_mapping(container.get("resources") or {}, f"{name}.resources")
    limits = _require_mapping(resources.get("limits") or {}, f"{name}.limits")
    requests = _require_mapping(resources.get("requests") or {}, f"{name}.requests")
    start = _require_mapping(group.get("rayStartParams") or {}, f"{name}.rayStartParams")
    cpus = start.get("num-cpus", limits.get("cpu", requests.get("cpu")))
    if cpus is None:
        raise _ClusterFileError(f"`{name}` has no `cpu` under limits or requests")
    gpus = start.get("num-gpus", limits.get("nvidia.com/gpu", 0))
    labels = _require_mapping(pod.get("nodeSelector") or {}, f"{name}.nodeSelector")
    instance_types = (_string_or_none(labels.get(label)) for label in _INSTANCE_LABELS)
    instance_type = next(filter(None, instance_types), None)
    cores = float(math.ceil(_parse_quantity(cpus, f"{name} cpu")))
    return _make_node_type(name, cores, _parse_count(gpus, f"{name} GPUs"), count, instance_type, hardware)


def _make_node_type(
    name: str, cpus: float, gpus: int, count: int, instance_type: str | None, hardware: _Hardware
) -> NodeType:
    if gpus > MAX_GPUS_PER_NODE:
        raise _ClusterFileError(f"`{name}` with {gpus:,} GPUs on one machine")
    matches = (kind for kind in hardware.values() if instance_type and instance_type.startswith(tuple(kind.instances)))
    known = next(matches, None) if gpus else None
    gpu, price = (known.name, known.usd_per_hour) if known else (None, None)
    return NodeType(name, cpus, gpus, count if cpus > 0 else 0, instance_type, gpu, price)


def _string_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _require_mapping(value: object, name: str) -> _Mapping:
    if not isinstance(value, dict):
        raise _ClusterFileError(f"`{name}` is not a mapping of keys to values")
    return value


def _parse_count(value: object, name: str) -> int:
    amount = _parse_quantity(value, name)
    if amount != int(amount):
        raise _ClusterFileError(f"`{name}: {value}`, not a whole number")
    return int(amount)


def _parse_quantity(value: object, name: str) -> float:
    """Parse a number, or a quantity in the notation of Kubernetes (`28`, `500m`)."""
    is_scalar = isinstance(value, int | float | str) and not isinstance(value, bool)
    match = _QUANTITY_PATTERN.fullmatch(str(value)) if is_scalar else None
    if match is None:
        # A value that is no scalar is not printed: YAML aliases can make it endless.
        raise _ClusterFileError(f"`{name}: {value if is_scalar else type(value).__name__}`, not a number")
    return float(match[1]) / (1000 if match[2] else 1)
