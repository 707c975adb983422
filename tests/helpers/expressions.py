"""What the dashboard and the alerts ask of Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sweeper.config.yaml_lines import read_yaml_as_dict

FOLDER = Path(__file__).resolve().parents[2] / "cluster" / "monitoring"
NODE_METRICS = {"ray_node_disk_free", "ray_node_disk_usage"}
"""Ray's own, of each node."""


def dashboard() -> dict[str, Any]:
    """The Grafana dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return found


def panel_queries() -> dict[str, str]:
    """Each panel's queries, with Grafana's variables filled in as for "all studies, the last hour"."""
    filled = {"$study": ".*", "$__range": "1h", "$__rate_interval": "1m"}
    queries = {}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in filled.items():
                text = text.replace(variable, value)
            assert "$" not in text, text
            queries[f"{panel['title']} {target['refId']}"] = text
    return queries


def alerts() -> dict[str, str]:
    """Each alert's expression."""
    (group,) = read_yaml_as_dict(FOLDER / "alerts.yaml")["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def metrics_in(text: str) -> set[str]:
    """Names of Ray's metrics in an expression."""
    return set(re.findall(r"\bray_\w+", text))
