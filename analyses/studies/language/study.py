"""Does a language model know which language it reads, as a linear image of the exact log-posterior?

Words are drawn from the real frequencies of several languages; a Pyro program says so, and gives
the exact posterior of the language for each context. The rest is the study of a world.
"""

from collections.abc import Sequence
from pathlib import Path

from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.world import run_world_study
from concept_ppl.distributed import ONE_PROCESS, Machines

from .plan import LanguageStudy


def run_language_study(
    study: LanguageStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    machines: Machines = ONE_PROCESS,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        As `run_world_study`, or if there is no such world.
    """
    return run_world_study(
        study.of_world(), folder, command=command, stage=stage, machines=machines, force=force
    )
