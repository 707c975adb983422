"""Clusters at their full size, read from launchers' files, and the errors of invalid files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.errors import UsageError
from sweeper.planning.cluster_files import read_cluster


def test_read_cluster_reads_the_shipped_aws_launcher(root: Path) -> None:
    cluster = read_cluster(root / "cluster/aws/g5.yaml")
    assert cluster.name == "sweeper"
    assert Counter((node.cpus, node.gpus) for node in cluster.nodes) == {(32, 1): 8, (48, 4): 2}  # no trial on the head
    assert len({node.name for node in cluster.nodes}) == 10
    assert cluster.total_gpus == 16
    assert cluster.gpu_names == {"g5-8xlarge": "a10g", "g5-12xlarge": "a10g"}
    assert all((kind.usd_per_hour or 0) > 0 for kind in cluster.node_types if kind.gpus)


@pytest.mark.parametrize(("file", "name"), [("raycluster", "sweeper"), ("rayjob", "sweeper-scaling")])
def test_read_cluster_reads_the_shipped_kuberay_files(root: Path, file: str, name: str) -> None:
    cluster = read_cluster(root / f"cluster/kuberay/{file}.yaml")
    assert cluster.name == name
    assert Counter((node.cpus, node.gpus) for node in cluster.nodes) == {(28, 1): 8, (44, 4): 2}
    assert cluster.gpu_names == {"one-gpu": "a10g", "four-gpus": "a10g"}


@pytest.fixture
def launcher() -> dict[str, Any]:
    return {
        "cluster_name": "c",
        "max_workers": 5,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 8}, "node_config": {}},
            "small": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 4, "node_config": {"InstanceType": "p9.huge"}},
            "large": {"resources": {"CPU": 48, "GPU": 4}, "max_workers": 2, "node_config": {}},
        },
    }


@pytest.fixture
def group() -> dict[str, Any]:
    container = {"name": "w", "resources": {"limits": {"cpu": "3500m", "nvidia.com/gpu": 2}}}
    return {"groupName": "w", "replicas": 1, "maxReplicas": 3, "template": {"spec": {"containers": [container]}}}


def read_counts(tmp_path: Path, *documents: Any) -> dict[str, int]:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return {kind.name: kind.count for kind in read_cluster(path).node_types}


def make_kuberay(*groups: Any, **spec: Any) -> dict[str, Any]:
    head = {
        "rayStartParams": {"num-cpus": "0"},
        "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "4"}}}]}},
    }
    return {"kind": "RayCluster", "spec": {"headGroupSpec": head, "workerGroupSpecs": list(groups), **spec}}


def test_read_cluster_caps_workers_with_the_largest_first(tmp_path: Path, launcher: dict[str, Any]) -> None:
    assert read_counts(tmp_path, launcher) == {"head": 1, "small": 3, "large": 2}


def test_read_cluster_applies_rays_defaults(tmp_path: Path, launcher: dict[str, Any]) -> None:
    del launcher["max_workers"], launcher["available_node_types"]["large"]["max_workers"]
    assert read_counts(tmp_path, launcher) == {"head": 1, "large": 2}


def test_read_cluster_leaves_unlisted_gpus_unknown(tmp_path: Path, launcher: dict[str, Any]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(launcher))
    assert read_cluster(path).gpu_names == {"small": None, "large": None}
    assert [kind.usd_per_hour for kind in read_cluster(path).node_types if kind.gpus] == [None, None]


def test_read_cluster_scales_kuberay_only_with_its_autoscaler(tmp_path: Path, group: dict[str, Any]) -> None:
    assert read_counts(tmp_path, make_kuberay(group)) == {"w": 1}
    assert read_counts(tmp_path, {"kind": "Service"}, make_kuberay(group, enableInTreeAutoscaling=True)) == {"w": 3}
    assert read_cluster(tmp_path / "cluster.yaml").nodes[0].cpus == 4
    group["numOfHosts"] = 2
    assert read_counts(tmp_path, make_kuberay(group, enableInTreeAutoscaling=True)) == {"w": 6}


def test_read_cluster_prefers_ray_start_params(tmp_path: Path, group: dict[str, Any]) -> None:
    group["rayStartParams"] = {"num-cpus": "7", "num-gpus": "1"}
    read_counts(tmp_path, make_kuberay(group))
    (node,) = read_cluster(tmp_path / "cluster.yaml").nodes
    assert (node.cpus, node.gpus) == (7, 1)


class TestInvalidFiles:
    def read_error(self, path: Path) -> str:
        with pytest.raises(UsageError) as error:
            read_cluster(path)
        assert error.value.requested == str(path)
        return str(error.value)

    def test_read_cluster_refuses_missing_files(self, tmp_path: Path) -> None:
        assert "no such file" in self.read_error(tmp_path / "none.yaml")
        assert "cannot be read" in self.read_error(tmp_path)

    @pytest.mark.parametrize("text", ["", "[]", "a: 1", "kind: Service", "kind: []", "just words", "--- 1\n--- 2"])
    def test_read_cluster_refuses_files_without_a_cluster(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        assert "neither `available_node_types`" in self.read_error(tmp_path / "c.yaml")

    @pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2", "\x00", "a: &b [*b"])
    def test_read_cluster_refuses_invalid_yaml(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        assert "not valid YAML" in self.read_error(tmp_path / "c.yaml")

    def test_read_cluster_never_executes_tags(self, tmp_path: Path) -> None:
        ran = tmp_path / "ran"
        (tmp_path / "c.yaml").write_text(f"available_node_types: !!python/object/apply:os.mkdir ['{ran}']")
        self.read_error(tmp_path / "c.yaml")
        assert not ran.exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.update(available_node_types=[]), "not a mapping"),
            (lambda c: c.update(head_node_type="tail"), "head_node_type: tail"),
            (lambda c: c.update(head_node_type=[]), "head_node_type: None"),
            (lambda c: c.update(max_workers=[1]), "max_workers: list`, not a number"),
            (lambda c: c.update(max_workers=10**12), "not a number"),
            (lambda c: c["available_node_types"]["small"].pop("resources"), "without `resources"),
            (lambda c: c["available_node_types"]["small"]["resources"].update(CPU="many"), "not a number"),
            (lambda c: c["available_node_types"]["small"]["resources"].update(CPU=True), "not a number"),
            (lambda c: c["available_node_types"]["small"]["resources"].update(GPU=0.5), "not a whole number"),
            (lambda c: c["available_node_types"]["small"].update(max_workers=-1), "not a number"),
            (lambda c: c.update(available_node_types={"head": {"resources": {"CPU": 0}}}), "no machine"),
        ],
    )
    def test_read_cluster_refuses_incomplete_launchers(
        self, tmp_path: Path, launcher: dict[str, Any], change: Any, message: str
    ) -> None:
        change(launcher)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(launcher))
        assert message in self.read_error(tmp_path / "c.yaml")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda g: g["template"]["spec"].update(containers=[]), "no container"),
            (lambda g: g["template"]["spec"]["containers"][0].pop("resources"), "has no `cpu`"),
            (lambda g: g.update(replicas=2147483647), "more than 10,000 machines"),
            (lambda g: g.update(rayStartParams={"num-gpus": "999999999"}), "999,999,999 GPUs on one machine"),
            (lambda g: g.pop("template"), "not a mapping"),
        ],
    )
    def test_read_cluster_refuses_incomplete_groups(
        self, tmp_path: Path, group: dict[str, Any], change: Any, message: str
    ) -> None:
        change(group)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(make_kuberay(group)))
        assert message in self.read_error(tmp_path / "c.yaml")
