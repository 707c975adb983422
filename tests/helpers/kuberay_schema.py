"""What KubeRay's custom resources may hold: the fields used here, by its API reference (v1.5.1 and newer), and the
rules of its operator that no list of fields can say. Pod templates are left to Kubernetes' own schemas."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object of exactly these fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


POD_TEMPLATE = fields("spec", metadata={"type": "object"}, spec={"type": "object", "required": ["containers"]})
CREDENTIAL = fields("valueFrom", valueFrom={"type": "object"})  # a literal password is no choice here
CLUSTER = fields(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion={"type": "string"},
    authOptions=fields("mode", mode={"const": "token"}, secretName={"type": "string"}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=fields(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        resources={"type": "object"},
    ),
    gcsFaultToleranceOptions=fields(
        "redisAddress",
        redisAddress={"type": "string"},
        redisUsername=CREDENTIAL,
        redisPassword=CREDENTIAL,
        externalStorageNamespace={"type": "string"},
    ),
    headGroupSpec=fields("template", rayStartParams=STRINGS, template=POD_TEMPLATE, serviceType={"type": "string"}),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            "groupName template",
            groupName={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            idleTimeoutSeconds=COUNT,
            numOfHosts=COUNT,
            rayStartParams=STRINGS,
            template=POD_TEMPLATE,
        ),
    },
)
JOB = fields(
    "entrypoint rayClusterSpec",
    entrypoint={"type": "string"},
    runtimeEnvYAML={"type": "string"},
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    submitterPodTemplate=POD_TEMPLATE,
    rayClusterSpec=CLUSTER,
)


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}
    return fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=fields("name", name=name, labels=STRINGS, annotations=STRINGS, namespace={"type": "string"}),
        spec=spec,
    )


SCHEMAS = {"RayCluster": resource("RayCluster", CLUSTER), "RayJob": resource("RayJob", JOB)}


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    """The cluster that a RayCluster is and a RayJob holds."""
    spec: dict[str, Any] = document["spec"]
    return spec.get("rayClusterSpec", spec)


def problems(document: dict[str, Any]) -> list[str]:
    """Every way in which KubeRay would refuse this."""
    found = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(SCHEMAS[document["kind"]]).iter_errors(document)
    ]
    if found:
        return found
    cluster = cluster_of(document)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    if tuple(map(int, cluster["rayVersion"].split("."))) < (2, 52, 0):
        found.append("authOptions need Ray 2.52")
    if len({group["groupName"] for group in groups[1:]}) < len(groups) - 1:
        found.append("two worker groups of one name")
    if cluster.get("enableInTreeAutoscaling") and cluster.get("autoscalerOptions", {}).get("version") != "v1":
        policies = {group["template"]["spec"].get("restartPolicy", "Never") for group in groups}
        if policies != {"Never"}:
            found.append("restartPolicy must be Never or unset with the autoscaler's version 2")
    taken = {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_enable_autoscaler_v2", "RAY_AUTH_MODE"}
    for group in groups:
        names = {entry["name"] for entry in group["template"]["spec"]["containers"][0].get("env", [])}
        if clash := names & taken:
            found.append(f"the operator sets these itself: {', '.join(sorted(clash))}")
        if not 0 <= group.get("minReplicas", 0) <= group.get("maxReplicas", 2**31 - 1):
            found.append("minReplicas above maxReplicas")
    return found
