"""Run the benchmarks, keep what they found, and draw their table.

    python benchmarks/run.py [NAME …]        # all of them, or these; about an hour and a quarter on two cores

Each is a process of its own whose last line is JSON. All go into benchmarks/results/<date>-<machine>.json, where those
run again replace their earlier selves; the tables of benchmarks/README.md show each benchmark from the newest file that
has it. A quiet machine is asked for: nothing else at work.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from row import number

HERE = Path(__file__).parent
BENCHMARKS: dict[str, list[str]] = {
    "startup": [],
    "overhead": [],
    "scheduling": [],
    "training": [],
    "precision": [],
    "evaluation": [],
    "judging": [],
    "data": [],
    "report": [],
    "scaling": [],
    "preflight plan": [],
    "preflight actual": [],
    "verdict": [],
    "memory": [],
    "faults": [],
    "recovery": [],
}
"""Name (script and first words) -> further words."""
PACKAGES = ("ray", "torch", "transformers", "trl", "accelerate", "optuna", "datasets")
BEGIN, END = "<!-- drawn by benchmarks/run.py -->\n", "<!-- end -->\n"


def measured(name: str) -> dict[str, Any]:
    """One benchmark: its rows, and how it went."""
    script, *words = name.split()
    command = [sys.executable, str(HERE / f"{script}.py"), *words, *BENCHMARKS[name]]
    shown = " ".join(["python", f"benchmarks/{script}.py", *words, *BENCHMARKS[name]])
    print(f"\n== {shown}", flush=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("{"):
                print(line, end="", flush=True)
    found: dict[str, Any] = {
        "command": shown,
        "exit_code": process.returncode,
        "written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M}",
        "seconds": time.monotonic() - began,
        "load_before": load,
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "--", "src") else ""),
        "rows": [],
    }
    if lines and lines[-1].startswith("{"):
        found |= json.loads(lines[-1])
    return found


def machine() -> dict[str, Any]:
    """Where this is."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(iter(re.findall(r"model name\s*:\s*(.*)", text)), platform.processor() or platform.machine())
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def table(found: dict[str, Any], file: str) -> str:
    """The results of one file as Markdown."""
    here = found["machine"]
    versions = ", ".join(f"{name} {here[name]}" for name in ("python", *PACKAGES))
    lines = [
        f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB; {versions}. From `results/{file}`.",
        "",
        "| what | ours | against | theirs | ratio (spread) | aim | limit | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found["benchmarks"].values():
        for row in one["rows"]:
            middle = statistics.median(row["ours"])
            theirs = number(statistics.median(row["theirs"])) if row["theirs"] else ""
            spread = f" ({row['low']:.2f} to {row['high']:.2f})" if len(row["ours"]) > 1 else ""
            ratio = f"{row['figure']:.2f}{spread}" if row["theirs"] else spread.strip(" ()")
            aim = row["aim"] + ("" if row["reached"] in (None, True) else " **missed**")
            limit = f"{number(row['limit'])} ({row['limit_is']})" if row["limit"] is not None else ""
            cells = (row["what"], f"{number(middle)} {row['unit']}", row["versus"], theirs, ratio, aim, limit)
            lines.append(f"| {' | '.join(cells)} | `{one['command']}` |")
        if not one["rows"]:
            lines.append(f"| **no result**, exit code {one['exit_code']} | | | | | | | `{one['command']}` |")
    if stages := found["benchmarks"].get("startup", {}).get("stages"):
        lines += [
            "",
            "From `sweeper run quickstart` to the first optimiser step (medians; data are prepared beside Ray):",
            "",
            "| stage | seconds |",
            "|---|---|",
            *(f"| {stage} | {number(statistics.median(seconds))} |" for stage, seconds in stages.items()),
        ]
    return "\n".join(lines) + "\n"


def newest(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each benchmark from the file (name -> results) in which it was last written, the latest file first."""
    last: dict[str, tuple[str, str]] = {}
    for file, found in files.items():
        for name, one in found["benchmarks"].items():
            last[name] = max(last.get(name, ("", "")), (one.get("written", ""), file))
    order = [file for _, file in sorted(last.values(), reverse=True)]
    return {
        file: files[file]
        | {"benchmarks": {n: one for n, one in files[file]["benchmarks"].items() if last[n][1] == file}}
        for file in dict.fromkeys(order)
    }


def main() -> int:
    """Run them; 1 where one gave no result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    asked = parser.parse_args()
    names = [name for name in BENCHMARKS if not asked.names or name in asked.names or name.split()[0] in asked.names]
    if unknown := set(asked.names) - {word for name in BENCHMARKS for word in (name, name.split()[0])}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    here = machine()
    slug = re.sub(r"[^a-z0-9]+", "-", f"{here['cores']}x {here['cpu']}".lower()).strip("-")
    file = HERE / "results" / f"{datetime.date.today():%Y-%m-%d}-{slug}.json"
    file.parent.mkdir(exist_ok=True)
    found = json.loads(file.read_text()) if file.exists() else {"benchmarks": {}}
    readme = HERE / "README.md"
    for name in names:
        found["machine"] = here
        kept = found["benchmarks"] | {name: measured(name)}
        found["benchmarks"] = {known: kept[known] for known in BENCHMARKS if known in kept}
        file.write_text(json.dumps(found, indent=1) + "\n")
        results = newest({path.name: json.loads(path.read_text()) for path in file.parent.glob("*.json")})
        drawn = "\n".join(table(of_file, name) for name, of_file in results.items())
        before, _, rest = readme.read_text().partition(BEGIN)
        readme.write_text(before + BEGIN + drawn + END + rest.partition(END)[2])
    return int(any(not found["benchmarks"][name]["rows"] for name in names))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=HERE).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
