"""The posterior of many contexts in parts: a row group of a Parquet file each, wherever it runs.

A part is a plain function of a question, a file and the number of a row group. Its answer is a
Parquet file of its own, kept until the whole is put together: a run that was killed goes on.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from concept_ppl.contexts.tokens import tokens_of
from concept_ppl.distributed import Crew, Part, Store, finish
from concept_ppl.errors import InputError, UnfinishedError

if TYPE_CHECKING:
    from concept_ppl.inference.results import Posterior

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Question:
    """What is asked of every context; see ``concept-ppl posterior --help``."""

    model: str
    parameters: tuple[str, ...] = ()
    draws: int = 0
    joint: bool = False
    impossible: str = "raise"
    memory: float = 2e9
    device: str = "cpu"

    def asked(self) -> Callable[..., "Posterior"]:
        """Build the model, once, and return what answers contexts."""
        options: dict[str, Any] = {
            "joint": self.joint,
            "memory": self.memory,
            "device": self.device,
            "impossible": self.impossible,
        }
        if self.draws:
            return partial(_averaging(self.model, self.parameters, self.draws), **options)
        from concept_ppl.inference.posteriors import posterior
        from concept_ppl.model_sources import load_model
        from concept_ppl.programs.sources import parse_parameter

        program = load_model(self.model, **dict(map(parse_parameter, self.parameters)))
        return partial(posterior, program, **options)


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, counted from 0."""

    path: str
    number: int


def row_groups(path: str | Path) -> list[RowGroup]:
    """Return the row groups of a Parquet file.

    Raises
    ------
    InputError
        If the file is missing, is not Parquet or holds no rows.
    """
    with _opened(path) as file:
        if file.metadata.num_rows == 0:
            raise InputError(f"{path} holds no rows.")
        where = str(Path(path).resolve())
        return [RowGroup(where, number) for number in range(file.num_row_groups)]


def answer_row_group(asked: Callable[..., "Posterior"], group: RowGroup) -> pa.Table:
    """Return the posterior of the contexts of one row group, a row each, in their order.

    Raises
    ------
    InputError
        If the file cannot be read here, or its contexts cannot be answered.
    """
    where = f"{group.path}, row group {group.number}"
    with _opened(group.path) as file:
        _, contexts = tokens_of(file.read_row_group(group.number), where)
    try:
        return pa.Table.from_pandas(asked(contexts).to_frame(), preserve_index=False)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def answer_in_parts(
    question: Question,
    groups: Sequence[RowGroup],
    store: Store,
    crew: Crew,
    *,
    progress: Progress | None = None,
) -> list[str]:
    """Answer the row groups that have no answer in the store yet; return the files' names.

    Raises
    ------
    UnfinishedError
        If a row group failed each time it was tried; the others are kept.
    """
    names = [_name(question, group, crew.environment) for group in groups]
    parts = [Part((name,), (name, group)) for name, group in zip(names, groups, strict=True)]
    prepare = partial(_answering, question)
    _, failed = finish(parts, store, crew, prepare, progress=progress)
    if failed:
        raise UnfinishedError(
            f"{len(failed)} of {len(parts)} row groups could not be answered, each time they were "
            f"tried; the others are kept. The first: {failed[0].failure.reason}"
        )
    return names


def put_together(names: Sequence[str], store: Store, path: Path) -> None:
    """Write the answers of row groups to one file, a row group each, in their order."""
    writer = None
    try:
        for name in names:
            table = pq.read_table(io.BytesIO(store.read(name)))
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema), row_group_size=table.num_rows)
    finally:
        if writer is not None:
            writer.close()


def _answering(question: Question) -> Callable[[tuple[str, RowGroup]], dict[str, bytes]]:
    """Build the model once, and return what answers a row group, under the name of its answer."""
    asked = question.asked()

    def answer(named: tuple[str, RowGroup]) -> dict[str, bytes]:
        name, group = named
        file = io.BytesIO()
        pq.write_table(answer_row_group(asked, group), file)
        return {name: file.getvalue()}

    return answer


def _name(question: Question, group: RowGroup, environment: Mapping[str, str]) -> str:
    """Name the answer of a row group by all that decides it; the file by its size and age."""
    found = Path(group.path).stat()
    cause = {
        "question": asdict(question),
        "group": asdict(group),
        "file": [found.st_size, found.st_mtime_ns],
        "model": _state_of(question.model),
        "environment": dict(environment),
    }
    digest = hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()
    return f"{group.number}.{digest[:32]}.parquet"


def _state_of(model: str) -> list[int]:
    """Return size and age of the file that holds the model, where a file does."""
    path = Path(model.partition(".py:")[0] + ".py" if ".py:" in model else model)
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []


def _opened(path: str | Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; name a Parquet file that every machine sees.")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file.") from error


def _averaging(model: str, parameters: Sequence[str], draws: int) -> Callable[..., "Posterior"]:
    """Return the posterior of contexts averaged over the draws of a fit, as a question to ask."""
    from concept_ppl.fitting.fits.fit_files import read_fit
    from concept_ppl.fitting.fits.fitted_models import program_of
    from concept_ppl.fitting.fits.predictions import averaged_posterior

    if not model.endswith(".nc") or parameters:
        raise InputError("--draws averages over the draws of a fit.nc, without -p; leave it out.")
    file = read_fit(model)
    program = program_of(file)

    def asked(contexts: Any, **options: Any) -> "Posterior":
        seen = file.has_seen(contexts)
        return averaged_posterior(program, file.fit, contexts, n_draws=draws, seen=seen, **options)

    return asked
