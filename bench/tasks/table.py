"""Every benchmark, by the name that `--task` takes. A new one is a file and a line here."""

from __future__ import annotations

from typing import Final

from imp_deploy.bench.tasks import (
    demo,
    folder,
    gqa,
    mmbench,
    mme,
    mmvet,
    pope,
    scienceqa,
    textvqa,
    vizwiz,
    vqav2,
)
from imp_deploy.bench.tasks.task import Task
from imp_deploy.errors import BadInput

TASKS: Final[dict[str, Task]] = {
    task.name: task
    for task in (
        vqav2.TASK,
        gqa.TASK,
        vizwiz.TASK,
        scienceqa.TASK,
        textvqa.TASK,
        pope.TASK,
        mme.TASK,
        mmbench.ENGLISH,
        mmbench.CHINESE,
        mmvet.TASK,
        folder.TASK,
        demo.TASK,
    )
}


def task(name: str) -> Task:
    found = TASKS.get(name)
    if found is None:
        raise BadInput(f"There is no task {name!r}; there are {', '.join(TASKS)}.")
    return found
