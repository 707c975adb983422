"""What this machine can run, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_NEEDED = ("ray", "torch", "transformers", "trl", "datasets", "accelerate", "optuna", "wandb")
_ENGINES = ("deepspeed",)


def examine() -> dict[str, Any]:
    """`ok` is False where the quickstart cannot run; `checks` holds one row per part with what to do."""
    checks = [_python(), *(_package(name, needed=True) for name in _NEEDED)]
    checks += [_package(name, needed=False) for name in _ENGINES]
    checks += [_gpu(), _disk(), _browser()]
    return {
        "ok": all(check["state"] != "missing" for check in checks),
        "cpus": os.cpu_count(),
        "checks": checks,
    }


def _check(name: str, state: str, found: str, do: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": found, "do": do}


def _python() -> dict[str, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    return _check("python", "ok" if fits else "missing", version, "" if fits else "install Python 3.11 or newer")


def _package(name: str, *, needed: bool) -> dict[str, str]:
    if importlib.util.find_spec(name) is None:
        return _check(name, "missing" if needed else "optional", "not installed", "make setup")
    return _check(name, "ok", importlib.metadata.version(name))


def _gpu() -> dict[str, str]:
    if importlib.util.find_spec("torch") is None:
        return _check("gpu", "optional", "unknown without torch")
    import torch

    if not torch.cuda.is_available():
        return _check("gpu", "optional", "none: tiny models only; fp16 recipes will not run")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return _check("gpu", "ok", ", ".join(names))


def _disk() -> dict[str, str]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return _check(
        "disk", "ok" if free > 2 else "missing", f"{free:.0f} GiB free here", "" if free > 2 else "free 2 GiB"
    )


def _browser() -> dict[str, str]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    return _check("browser", "ok" if path else "optional", path or "none: report tests that open one are skipped")
