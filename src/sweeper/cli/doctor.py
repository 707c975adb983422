"""Checks of the environment: what can run on this machine, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_REQUIRED_PACKAGES = ("ray", "torch", "transformers", "trl", "datasets", "accelerate", "optuna", "wandb")
_OPTIONAL_PACKAGES = ("deepspeed",)
_MIN_FREE_GIB = 2.0

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class EnvironmentCheck:
    """One part of the environment.

    Args:
        name: the part, e.g. `torch`.
        state: `missing` prevents the quickstart; `optional` does not.
        found: a version, a size, or what is not there.
        hint: how to fix it.
    """

    name: str
    state: State
    found: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the check as `doctor --json` prints it."""
        return {"name": self.name, "state": self.state, "found": self.found, "do": self.hint}


@dataclass(frozen=True)
class EnvironmentReport:
    """All checks, and the number of CPU cores."""

    cpus: int | None
    checks: tuple[EnvironmentCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether the quickstart can run."""
        return all(check.state != "missing" for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """Return the report as `doctor --json` prints it."""
        return {"ok": self.ok, "cpus": self.cpus, "checks": [check.to_json() for check in self.checks]}


def check_environment() -> EnvironmentReport:
    """Check Python, packages, GPUs, free disk space and the browser."""
    checks = [_check_python()]
    checks += [_check_package(name, is_required=True) for name in _REQUIRED_PACKAGES]
    checks += [_check_package(name, is_required=False) for name in _OPTIONAL_PACKAGES]
    return EnvironmentReport(os.cpu_count(), (*checks, _check_gpu(), _check_disk(), _check_browser()))


def _check_python() -> EnvironmentCheck:
    return EnvironmentCheck("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _check_package(name: str, *, is_required: bool) -> EnvironmentCheck:
    if importlib.util.find_spec(name) is None:
        return EnvironmentCheck(name, "missing" if is_required else "optional", "not installed", "make setup")
    return EnvironmentCheck(name, "ok", importlib.metadata.version(name))


def _check_gpu() -> EnvironmentCheck:
    if importlib.util.find_spec("torch") is None:
        return EnvironmentCheck("gpu", "optional", "unknown without torch")
    import torch

    if not torch.cuda.is_available():
        return EnvironmentCheck("gpu", "optional", "none: tiny models only; fp16 recipes cannot run")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return EnvironmentCheck("gpu", "ok", ", ".join(names))


def _check_disk() -> EnvironmentCheck:
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    found = f"{free_gib:.0f} GiB free here"
    if free_gib > _MIN_FREE_GIB:
        return EnvironmentCheck("disk", "ok", found)
    return EnvironmentCheck("disk", "missing", found, f"free {_MIN_FREE_GIB:.0f} GiB")


def _check_browser() -> EnvironmentCheck:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path:
        return EnvironmentCheck("browser", "ok", path)
    return EnvironmentCheck("browser", "optional", "none", "install chromium: the report's browser tests need it")
