"""How many GPU-hours to the paper's verdicts? All sweeps as one study, against each on its own; and branched epochs.

    python benchmarks/verdict.py [--hardware a10g]

Nothing is trained: hours are `sweeper plan`'s for the true sizes, 187,542 examples of 2,048 tokens and the utilisation
taken in configs/hardware/. One study trains equal trials once; with `branch_epochs` the shorter epochs go on from the
longest. The schedule is then a warm-up-stable-decay one, so that this is another study of the same question.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from row import Row, finish

from sweeper.config import HardwareSpec, Sweep, find_hardware_spec, find_sweep, load_hardware_specs, load_sweep
from sweeper.planning.estimate import estimate_plan, retarget_hardware
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.toolworld import WorldConfig, build_world, export_world

BRANCHED = ["branch_epochs=true", "recipe.lr_scheduler_type=warmup_stable_decay", "recipe.decay_fraction=0.2"]


def gpu_hours(sweep: Sweep, kind: HardwareSpec, folder: Path) -> float:
    """Of the whole plan, into an empty store."""
    store, known = Store.from_location(str(folder)), load_hardware_specs()
    on = retarget_hardware(sweep, kind)
    plan, _ = estimate_plan(plan_sweep(on, store, kind), store, known, gpu_kinds=[kind])
    assert not plan.problems, plan.problems
    assert plan.estimate is not None
    return plan.estimate.cost.gpu_hours.expected


def main() -> int:
    """Plan all, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hardware", default="a10g")
    asked = parser.parse_args()
    kind = find_hardware_spec(asked.hardware, load_hardware_specs())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Some data in the paper's format, so that trials have an identity; their number is the plan's own assumption.
        few = WorldConfig(train_queries=6, validation_queries=3, test_queries_per_subset=1)
        export_world(build_world(few), folder)
        sets = [f"data.path={folder / 'answer'}", f"evaluation.queries={folder}"]
        paper = load_sweep(find_sweep("paper"), sets)
        apart = {part.name: gpu_hours(part, kind, folder / part.name) for part in paper.sweeps}
        together = gpu_hours(paper, kind, folder / "paper")
        parts = tuple(
            load_sweep(find_sweep("epochs"), [*sets, *BRANCHED]) if part.name == "epochs" else part
            for part in paper.sweeps
        )
        branched = gpu_hours(paper.model_copy(update={"sweeps": parts}), kind, folder / "branched")
        alone = gpu_hours(parts[[part.name for part in parts].index("epochs")], kind, folder / "alone")
    each = [sum(apart.values())]
    for part, hours in apart.items():
        print(f"  {part}: {hours:,.0f} GPU-hours on its own")
    return finish(
        [
            Row("all of the paper's sweeps as one study", "GPU-hours", [together], "each on its own", each),
            Row("the same with branched epochs", "GPU-hours", [branched], "each on its own", each),
            Row("the epochs sweep, branched", "GPU-hours", [alone], "each arm from the start", [apart["epochs"]]),
        ],
        apart=apart,
        hardware=kind.name,
    )


if __name__ == "__main__":
    sys.exit(main())
