"""Launcher files, checked against the schemas of their consumers, since they cannot be run here."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kuberay_schema import cluster_of, problems

KUBERNETES = "1.34"
GPUS = {"g5.8xlarge": (32, 1), "g5.12xlarge": (48, 4)}
"""Instance type -> its virtual CPUs and GPUs."""


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "cluster"


@pytest.fixture(scope="module")
def versions(root: Path) -> dict[str, str]:
    """Pinned package -> version."""
    lines = (root / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


class TestAws:
    @pytest.fixture
    def launcher(self, folder: Path) -> dict[str, Any]:
        return yaml.safe_load((folder / "aws" / "g5.yaml").read_text())

    def test_launcher_matches_rays_schema(self, launcher: dict[str, Any]) -> None:
        from ray.autoscaler._private.util import prepare_config, validate_config

        made = prepare_config(copy.deepcopy(launcher))
        validate_config(made)
        assert set(made["available_node_types"]) == set(launcher["available_node_types"])

    def test_rays_schema_rejects_an_unknown_key(self, launcher: dict[str, Any]) -> None:
        from jsonschema import ValidationError
        from ray.autoscaler._private.util import prepare_config, validate_config

        launcher["available_node_types"]["head"]["spot"] = True
        with pytest.raises(ValidationError, match="spot"):
            validate_config(prepare_config(launcher))

    def test_workers_advertise_the_resources_of_their_instances(self, launcher: dict[str, Any]) -> None:
        workers = {name: node for name, node in launcher["available_node_types"].items() if name != "head"}
        advertised = {
            node["node_config"]["InstanceType"]: (node["resources"]["CPU"], node["resources"]["GPU"])
            for node in workers.values()
        }
        assert advertised == GPUS
        assert sum(node["max_workers"] for node in workers.values()) == launcher["max_workers"]

    def test_only_workers_are_spot_instances_that_stop_when_idle(self, launcher: dict[str, Any]) -> None:
        for name, node in launcher["available_node_types"].items():
            market = node["node_config"].get("InstanceMarketOptions")
            assert market == (None if name == "head" else {"MarketType": "spot"})
            assert node.get("min_workers", 0) == 0
        assert launcher["idle_timeout_minutes"] <= 10
        assert launcher["provider"]["cache_stopped_nodes"] is False
        assert launcher["available_node_types"]["head"]["resources"] == {"CPU": 0}
        assert "--num-cpus=0" in launcher["head_start_ray_commands"][-1]

    def test_every_node_requires_and_has_the_token(self, launcher: dict[str, Any]) -> None:
        for part in ("head", "worker"):
            assert "RAY_AUTH_MODE=token" in launcher[f"{part}_start_ray_commands"][-1]
        assert launcher["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
        assert "--dashboard-host=127.0.0.1" in launcher["head_start_ray_commands"][-1]

    def test_file_mounts_exist_and_cover_the_installation(self, launcher: dict[str, Any], root: Path) -> None:
        mounts = {remote: local for remote, local in launcher["file_mounts"].items() if not local.startswith("~")}
        for remote, local in mounts.items():
            assert (root / local).exists()
            assert remote == f"/home/ubuntu/sweeper/{local}"
        assert installed_from(root) <= set(mounts.values())

    def test_installs_the_pinned_versions(self, launcher: dict[str, Any]) -> None:
        (install,) = [
            command for command in launcher["setup_commands"] if "pip install" in command and "-e " in command
        ]
        assert "-c constraints.txt -e '.[s3]'" in install

    def test_exactly_two_ids_are_placeholders(self, folder: Path) -> None:
        text = "".join(
            line.partition("#")[0] for line in (folder / "aws" / "g5.yaml").read_text().splitlines(keepends=True)
        )
        assert re.findall(r"\S*-REPLACE", text) == ["[sg-REPLACE", "fs-REPLACE"]


def kubernetes_documents(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((folder / "kuberay").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


class TestKubeRay:
    @pytest.fixture
    def cluster(self, folder: Path) -> dict[str, Any]:
        return yaml.safe_load((folder / "kuberay" / "raycluster.yaml").read_text())

    @pytest.fixture
    def job(self, folder: Path) -> dict[str, Any]:
        return yaml.safe_load((folder / "kuberay" / "rayjob.yaml").read_text())

    def test_resources_match_kuberays_schema(self, cluster: dict[str, Any], job: dict[str, Any]) -> None:
        assert problems(cluster) == []
        assert problems(job) == []

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda c: c.update(autoscaling=True), "autoscaling"),
            (lambda c: c["authOptions"].update(mode="disabled"), "token"),
            (lambda c: c.update(rayVersion="2.40.0"), "2.52"),
            (lambda c: c["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}), "string"),
            (lambda c: c["workerGroupSpecs"][0]["template"]["spec"].update(restartPolicy="Always"), "restartPolicy"),
            (lambda c: c["gcsFaultToleranceOptions"].update(redisPassword={"value": "secret"}), "value"),
            (lambda c: c["workerGroupSpecs"][0].update(minReplicas=99), "minReplicas"),
        ],
    )
    def test_schema_check_reports_invalid_resources(self, cluster: dict[str, Any], change: Any, problem: str) -> None:
        change(cluster["spec"])
        assert problem in " ".join(problems(cluster))

    def test_all_pods_and_other_resources_match_kubernetes_schema(self, folder: Path) -> None:
        seen = []
        for name, document in kubernetes_documents(folder):
            if document["apiVersion"] != "ray.io/v1":
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
                seen.append(f"{name} {document['kind']}")
                continue
            cluster = cluster_of(document)
            for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
                pod = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "pod"},
                    "spec": group["template"]["spec"],
                }
                kubernetes_validate.validate(pod, KUBERNETES, strict=True)
                seen.append(f"{name} Pod")
        assert seen == [
            *["raycluster.yaml Pod"] * 3,
            *["rayjob.yaml Pod"] * 3,
            *["redis.yaml Service", "redis.yaml StatefulSet", "storage.yaml PersistentVolumeClaim"],
        ]

    def test_image_and_ray_version_are_the_pinned_ones(
        self, cluster: dict[str, Any], job: dict[str, Any], versions: dict[str, str], root: Path
    ) -> None:
        released = re.search(r'^version = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
        assert released is not None
        for document in (cluster, job):
            spec = cluster_of(document)
            assert spec["rayVersion"] == versions["ray"]
            groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
            images = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
            assert [image.rpartition(":")[2] for image in images] == [released[1]]

    def test_pods_are_unprivileged_share_the_store_and_contain_no_secret(
        self, cluster: dict[str, Any], job: dict[str, Any], folder: Path
    ) -> None:
        for document in (cluster, job):
            spec = cluster_of(document)
            for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
                pod = group["template"]["spec"]
                assert pod["securityContext"]["runAsNonRoot"] is True
                assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
                assert pod["containers"][0]["volumeMounts"] == [{"name": "store", "mountPath": "/mnt/sweeper"}]
                assert pod["volumes"] == [{"name": "store", "persistentVolumeClaim": {"claimName": "sweeper-store"}}]
        documents = dict.fromkeys(document["kind"] for _, document in kubernetes_documents(folder))
        assert "Secret" not in documents
        claim = yaml.safe_load((folder / "kuberay" / "storage.yaml").read_text())
        assert claim["metadata"]["name"] == "sweeper-store"
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]

    def test_worker_groups_request_the_gpus_of_their_instances(
        self, cluster: dict[str, Any], job: dict[str, Any]
    ) -> None:
        for document in (cluster, job):
            for group in cluster_of(document)["workerGroupSpecs"]:
                pod = group["template"]["spec"]
                cpus, gpus = GPUS[pod["nodeSelector"]["node.kubernetes.io/instance-type"]]
                resources = pod["containers"][0]["resources"]
                assert resources["limits"] == resources["requests"]
                assert int(resources["limits"]["nvidia.com/gpu"]) == gpus
                assert int(resources["limits"]["cpu"]) < cpus  # the node reserves some
                assert group["minReplicas"] == 0

    def test_head_recovers_from_the_shipped_redis(self, cluster: dict[str, Any], folder: Path) -> None:
        options = cluster["spec"]["gcsFaultToleranceOptions"]
        service, server = yaml.safe_load_all((folder / "kuberay" / "redis.yaml").read_text())
        assert options["redisAddress"] == f"redis://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        assert service["spec"]["selector"] == server["spec"]["template"]["metadata"]["labels"]
        container = server["spec"]["template"]["spec"]["containers"][0]
        key = options["redisPassword"]["valueFrom"]["secretKeyRef"]
        assert container["env"][0]["valueFrom"]["secretKeyRef"] == key
        assert "--appendonly yes" in container["args"][0]

    def test_job_keeps_its_store_retries_and_deletes_its_cluster(self, job: dict[str, Any]) -> None:
        words = shlex.split(job["spec"]["entrypoint"])
        assert words[:2] == ["sweeper", "run"]
        assert words[words.index("--storage") + 1].startswith("/mnt/sweeper/")
        assert job["spec"]["backoffLimit"] > 0
        assert job["spec"]["shutdownAfterJobFinishes"] is True


def installed_from(root: Path) -> set[str]:
    """Files that `pip install .` reads, and data files of the installed program."""
    text = (root / "pyproject.toml").read_text()
    named = re.findall(r'readme = "(.*)"', text) + re.findall(r'license-files = \["(.*)"\]', text)
    return {"pyproject.toml", "constraints.txt", "src", "configs", "sweeps", *named}


class TestDockerfile:
    @pytest.fixture
    def instructions(self, folder: Path) -> list[tuple[str, str]]:
        """Its instructions in order, with continued lines joined."""
        text = re.sub(r"\\\n\s*", "", (folder / "Dockerfile").read_text())
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        parts = [line.split(None, 1) for line in lines]
        return [(word, rest) for word, rest in parts]

    def test_dockerfile_uses_known_instructions(self, instructions: list[tuple[str, str]]) -> None:
        assert {word for word, _ in instructions} <= {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}
        assert instructions[0][0] == "FROM"

    def test_base_image_is_a_pinned_cuda_devel_image(self, instructions: list[tuple[str, str]]) -> None:
        assert re.fullmatch(r"nvidia/cuda:13\.0\.\d+-devel-ubuntu\d\d\.04", instructions[0][1])

    def test_installs_the_pinned_versions(self, instructions: list[tuple[str, str]]) -> None:
        (install,) = [rest for word, rest in instructions if word == "RUN" and "-e " in rest]
        assert "uv pip install --no-cache -c constraints.txt -e '.[s3]'" in install  # a store on S3 needs its driver

    def test_copied_files_exist_and_match_the_dockerignore(
        self, instructions: list[tuple[str, str]], folder: Path, root: Path
    ) -> None:
        copied = {source for word, rest in instructions if word == "COPY" for source in rest.split()[:-1]}
        assert copied == installed_from(root)
        assert all((root / source).exists() for source in copied)
        lines = (folder / "Dockerfile.dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        assert {rule[1:] for rule in rules if rule.startswith("!")} == copied

    def test_image_runs_as_an_unprivileged_user(self, instructions: list[tuple[str, str]]) -> None:
        users = [rest for word, rest in instructions if word == "USER"]
        assert users == ["1000:1000"]
        after = [word for word, _ in instructions][[word for word, _ in instructions].index("USER") :]
        assert "RUN" not in after
        assert "COPY" not in after

    def test_dockerfile_contains_no_secret(self, instructions: list[tuple[str, str]]) -> None:
        for word, rest in instructions:
            assert word != "ARG"
            assert not re.search(r"(?i)(token|password|secret|api_key)\s*=", rest)


def test_no_launcher_file_contains_an_account_or_key(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert not re.search(
                r"AKIA[0-9A-Z]{16}|\b\d{12}\b|BEGIN [A-Z ]*PRIVATE KEY|hf_[A-Za-z0-9]{20}", path.read_text()
            )


def test_spot_notice_drains_the_node(root: Path, tmp_path: Path) -> None:
    """With a fake metadata service, which requires a token and has no notice at the first check."""
    checks: list[str] = []

    class Metadata(BaseHTTPRequestHandler):
        def answer(self, code: int, text: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self) -> None:
            self.answer(200 if self.path == "/api/token" else 404, "a token")

        def do_GET(self) -> None:
            checks.append(self.path)
            allowed = self.headers["X-aws-ec2-metadata-token"] == "a token"
            self.answer(401 if not allowed else 404 if len(checks) < 2 else 200, "{}")

        def log_message(self, *words: object) -> None:
            pass

    fake_command = tmp_path / "sweeper"
    fake_command.write_text('#!/bin/sh\necho "sweeper $*"\n')
    fake_command.chmod(0o755)
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "SPOT_METADATA": f"http://127.0.0.1:{server.server_port}",
        }
        command = ["bash", str(root / "cluster" / "aws" / "spot-notice.sh"), "0.1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
        server.shutdown()
    assert checks == ["/meta-data/spot/instance-action"] * 2
    assert done.stdout.splitlines()[-1] == "sweeper cluster drain --seconds 110"
