"""What this machine can run, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_REQUIRED_PACKAGES = ("ray", "torch", "transformers", "trl", "datasets", "accelerate", "optuna", "wandb")
_OPTIONAL_PACKAGES = ("deepspeed",)


def check_environment() -> dict[str, Any]:
    """`ok` is False where the quickstart cannot run; `checks` holds one row per part with what to do."""
    checks = [_check_python(), *(_check_package(name, is_required=True) for name in _REQUIRED_PACKAGES)]
    checks += [_check_package(name, is_required=False) for name in _OPTIONAL_PACKAGES]
    checks += [_check_gpu(), _check_disk(), _check_browser()]
    return {
        "ok": all(check["state"] != "missing" for check in checks),
        "cpus": os.cpu_count(),
        "checks": checks,
    }


def _make_check(name: str, state: str, finding: str, hint: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": finding, "do": hint}


def _check_python() -> dict[str, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    return _make_check("python", "ok" if fits else "missing", version, "" if fits else "install Python 3.11 or newer")


def _check_package(name: str, *, is_required: bool) -> dict[str, str]:
    if importlib.util.find_spec(name) is None:
        return _make_check(name, "missing" if is_required else "optional", "not installed", "make setup")
    return _make_check(name, "ok", importlib.metadata.version(name))


def _check_gpu() -> dict[str, str]:
    if importlib.util.find_spec("torch") is None:
        return _make_check("gpu", "optional", "unknown without torch")
    import torch

    if not torch.cuda.is_available():
        return _make_check("gpu", "optional", "none: tiny models only; fp16 recipes will not run")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return _make_check("gpu", "ok", ", ".join(names))


def _check_disk() -> dict[str, str]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return _make_check(
        "disk", "ok" if free > 2 else "missing", f"{free:.0f} GiB free here", "" if free > 2 else "free 2 GiB"
    )


def _check_browser() -> dict[str, str]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    return _make_check("browser", "ok" if path else "optional", path or "none: report tests that open one are skipped")
