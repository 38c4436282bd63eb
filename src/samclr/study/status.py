"""The state of a study's runs."""

from typing import Any

from samclr.study.folder import StudyFolder
from samclr.study.plan import Plan


def status_rows(folder: StudyFolder, plan: Plan) -> list[dict[str, Any]]:
    """A row for each run, in the order of execution."""
    rows = []
    for index, run in enumerate(plan.runs()):
        stage = folder.stage(plan, run)
        steps = 0 if run.arm.strategy == "untrained" else run.arm.config.optim.num_steps(0)
        done = steps if folder.state(run.name).get("trained") else folder.steps_done(run)
        rows.append(
            {
                "index": index,
                "run": run.name,
                "stage": stage,
                "steps_done": done,
                "num_steps": steps,
                "reason": folder.reason(run) if stage in ("failed", "missing") else "",
            }
        )
    return rows
