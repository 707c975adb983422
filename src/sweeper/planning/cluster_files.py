"""What a cluster will have, from the file that starts it: Ray's cluster launcher's, or KubeRay's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sweeper.config import HardwareSpec, load_hardware_specs
from sweeper.errors import UsageError
from sweeper.scheduling import Node

MAX_NODES = 10_000
"""More is taken for a missing limit: KubeRay's own default for `maxReplicas` is two thousand million."""
MAX_GPUS_PER_NODE = 1_000
"""Of one machine; every one of them is counted singly."""
RAY_MAX_WORKERS = 2
"""Ray's default for all workers together, where the file does not say."""
_INSTANCE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_KUBERAY_SPEC_PATHS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
_QUANTITY_PATTERN = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(m?)")


@dataclass(frozen=True)
class NodeType:
    """Equal machines of a cluster."""

    name: str
    cpus: float
    gpus: int
    count: int
    instance_type: str | None
    hardware: str | None
    """Their kind of GPU, of `configs/hardware/`; None without GPUs, or where none there names this instance."""
    usd_per_hour: float | None
    """Price of one of its GPUs and hour on demand."""


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster at its full size. Machines that offer Ray no cores (a small head) are left out: nothing runs there."""

    name: str
    node_types: tuple[NodeType, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every machine; the name is its kind's and a number."""
        return tuple(
            Node(f"{kind.name}-{i}", kind.cpus, kind.gpus) for kind in self.node_types for i in range(1, kind.count + 1)
        )

    @property
    def total_gpus(self) -> int:
        """All of them."""
        return sum(kind.gpus * kind.count for kind in self.node_types)

    @property
    def gpu_names(self) -> dict[str, str | None]:
        """Kind of machine -> its kind of GPU, where it has GPUs."""
        return {kind.name: kind.hardware for kind in self.node_types if kind.gpus}

    def list_gpu_kinds(self, known_hardware: Mapping[str, HardwareSpec]) -> list[HardwareSpec]:
        """Its kinds of GPU; none where one of them is not known."""
        names = set(self.gpu_names.values())
        found = [kind for name, kind in known_hardware.items() if name in names]
        return found if len(found) == len(names) else []

    def find_smallest_gpu(self, known_hardware: Mapping[str, HardwareSpec]) -> HardwareSpec | None:
        """Its kind of GPU with least memory; None where one is not known."""
        return min(self.list_gpu_kinds(known_hardware), key=lambda kind: kind.memory_gib or 0.0, default=None)


def read_cluster(path: Path) -> ClusterSpec:
    """The cluster that a launcher's YAML describes, scaled up as far as it allows. Raises UsageError.

    Tags of the file are never run.
    """
    documents = _load_documents(path)
    hardware = load_hardware_specs()
    try:
        for document in documents:
            if "available_node_types" in document:
                name, kinds = (
                    _string_or_none(document.get("cluster_name")) or path.stem,
                    _parse_launcher_file(document, hardware),
                )
                break
            if _string_or_none(document.get("kind")) in _KUBERAY_SPEC_PATHS:
                name = (
                    _string_or_none(_require_mapping(document.get("metadata", {}), "metadata").get("name")) or path.stem
                )
                kinds = _parse_kuberay_file(document, hardware)
                break
        else:
            raise _ClusterFileError(
                "neither `available_node_types` (Ray's cluster launcher) nor a RayCluster, RayJob or RayService"
            )
        if sum(kind.count for kind in kinds) > MAX_NODES:
            raise _ClusterFileError(f"more than {MAX_NODES:,} machines: say how many there may be")
        if not any(kind.count for kind in kinds):
            raise _ClusterFileError("no machine that offers Ray any CPU")
    except _ClusterFileError as error:
        raise UsageError(
            "cluster",
            requested=str(path),
            found=str(error),
            hint="give a file such as cluster/aws/g5.yaml or cluster/kuberay/raycluster.yaml",
        ) from error
    return ClusterSpec(name, tuple(kind for kind in kinds if kind.count))


class _ClusterFileError(ValueError):
    """What is wrong with the file, in words."""


def _load_documents(path: Path) -> list[dict[str, Any]]:
    try:
        loaded = list(YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError("cluster", requested=str(path), found="no such file", hint="see cluster/ for some") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cluster", requested=str(path), found=f"cannot be read: {error}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        message = getattr(error, "problem", None) or str(error)
        raise UsageError("cluster", requested=str(path), found=f"not valid YAML: {message}") from error
    return [document for document in loaded if isinstance(document, dict)]


def _parse_launcher_file(document: dict[str, Any], hardware: dict[str, HardwareSpec]) -> list[NodeType]:
    """Ray's rules: one head; `max_workers` of a kind is by default that of all, 0 for the head's kind.

    Where kinds add up to more than `max_workers` of all, those with most GPUs come first: what fits a cluster that
    this file can make is not said to fit none.
    """
    total = _parse_count(document.get("max_workers", RAY_MAX_WORKERS), "max_workers")
    head = _string_or_none(document.get("head_node_type"))
    types = _require_mapping(document["available_node_types"], "available_node_types")
    if head not in types:
        raise _ClusterFileError(f"`head_node_type: {head}`, which is not among `available_node_types`")
    sizes = {
        name: _parse_launcher_resources(str(name), _require_mapping(node, str(name))) for name, node in types.items()
    }
    counts = {}
    for name in sorted(types, key=lambda name: sizes[name], reverse=True):
        most = _parse_count(types[name].get("max_workers", 0 if name == head else total), f"{name}.max_workers")
        counts[name] = min(most, total)
        total -= counts[name]
    kinds = []
    for name, node in types.items():
        gpus, cpus = sizes[name]
        kinds.append(
            _make_node_type(str(name), cpus, gpus, counts[name] + (name == head), _read_instance_type(node), hardware)
        )
    return kinds


def _parse_launcher_resources(name: str, node: dict[str, Any]) -> tuple[int, float]:
    """(GPUs, CPUs) of a node type."""
    resources = _require_mapping(node.get("resources", {}), f"{name}.resources")
    if "CPU" not in resources:
        raise _ClusterFileError(
            f"`{name}` without `resources: {{CPU: …, GPU: …}}` (the cloud is not asked for them here)"
        )
    return _parse_count(resources.get("GPU", 0), f"{name}.resources.GPU"), _parse_quantity(
        resources["CPU"], f"{name}.resources.CPU"
    )


def _read_instance_type(node: dict[str, Any]) -> str | None:
    config = _require_mapping(node.get("node_config", {}), "node_config")
    return _string_or_none(config.get("InstanceType")) or _string_or_none(config.get("machineType"))


def _parse_kuberay_file(document: dict[str, Any], hardware: dict[str, HardwareSpec]) -> list[NodeType]:
    spec = _require_mapping(document.get("spec"), "spec")
    for key in _KUBERAY_SPEC_PATHS[document["kind"]]:
        spec = _require_mapping(spec.get(key), f"spec.{key}")
    grows = spec.get("enableInTreeAutoscaling") is True
    kinds = [_parse_kuberay_group("head", _require_mapping(spec.get("headGroupSpec"), "headGroupSpec"), 1, hardware)]
    groups = spec.get("workerGroupSpecs") or []
    if not isinstance(groups, list):
        raise _ClusterFileError("`workerGroupSpecs` is not a list")
    for group in (_require_mapping(group, "workerGroupSpecs") for group in groups):
        name = _string_or_none(group.get("groupName")) or f"workers {len(kinds)}"
        key = "maxReplicas" if grows and "maxReplicas" in group else "replicas"
        count = _parse_count(group.get(key, 0), f"{name}.{key}") * _parse_count(
            group.get("numOfHosts", 1), f"{name}.numOfHosts"
        )
        kinds.append(_parse_kuberay_group(name, group, count, hardware))
    return kinds


def _parse_kuberay_group(name: str, group: dict[str, Any], count: int, hardware: dict[str, HardwareSpec]) -> NodeType:
    """KubeRay's rules: `num-cpus` and `num-gpus` of `rayStartParams`, else limits of the first container, else its
    requests; parts of a core are rounded up."""
    pod = _require_mapping(
        _require_mapping(group.get("template"), f"{name}.template").get("spec"), f"{name}.template.spec"
    )
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers:
        raise _ClusterFileError(f"`{name}` has no container")
    resources = _require_mapping(
        _require_mapping(containers[0], f"{name} container").get("resources") or {}, f"{name}.resources"
    )
    limits = _require_mapping(resources.get("limits") or {}, f"{name}.limits")
    requests = _require_mapping(resources.get("requests") or {}, f"{name}.requests")
    start = _require_mapping(group.get("rayStartParams") or {}, f"{name}.rayStartParams")
    cpus = start.get("num-cpus", limits.get("cpu", requests.get("cpu")))
    if cpus is None:
        raise _ClusterFileError(f"`{name}` says no `cpu` under limits or requests")
    gpus = start.get("num-gpus", limits.get("nvidia.com/gpu", 0))
    labels = _require_mapping(pod.get("nodeSelector") or {}, f"{name}.nodeSelector")
    instance = next((found for label in _INSTANCE_LABELS if (found := _string_or_none(labels.get(label)))), None)
    whole = float(math.ceil(_parse_quantity(cpus, f"{name} cpu")))
    return _make_node_type(name, whole, _parse_count(gpus, f"{name} GPUs"), count, instance, hardware)


def _make_node_type(
    name: str, cpus: float, gpus: int, count: int, instance_type: str | None, hardware: dict[str, HardwareSpec]
) -> NodeType:
    if gpus > MAX_GPUS_PER_NODE:
        raise _ClusterFileError(f"`{name}` with {gpus:,} GPUs on one machine")
    named = (kind for kind in hardware.values() if instance_type and instance_type.startswith(tuple(kind.instances)))
    known = next(named, None) if gpus else None
    gpu, price = (known.name, known.usd_per_hour) if known else (None, None)
    return NodeType(name, cpus, gpus, count if cpus > 0 else 0, instance_type, gpu, price)


def _string_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _require_mapping(value: Any, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _ClusterFileError(f"`{name}` is not a mapping of keys to values")
    return value


def _parse_count(value: Any, name: str) -> int:
    amount = _parse_quantity(value, name)
    if amount != int(amount):
        raise _ClusterFileError(f"`{name}: {value}`, not a whole number")
    return int(amount)


def _parse_quantity(value: Any, name: str) -> float:
    """A number, or a quantity as Kubernetes writes it (`28`, `500m`)."""
    plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    match = _QUANTITY_PATTERN.fullmatch(str(value)) if plain else None
    if match is None:
        # What is no scalar is not printed: aliases can make it endless.
        raise _ClusterFileError(f"`{name}: {value if plain else type(value).__name__}`, not a number")
    return float(match[1]) / (1000 if match[2] else 1)
