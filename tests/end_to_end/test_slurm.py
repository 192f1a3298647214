"""The array job of docs/slurm.md, run by a stand-in for sbatch that starts its tasks at once; and what the container is built of."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from knscope import store
from knscope.analysis.runs.status import Observer
from knscope.store import runs as run_files

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
SBATCH = """#!/bin/bash
# Each task as a process of its own, with the number that it has in the array.
script=$1
range=$(sed -n 's/^#SBATCH --array=//p' "$script")
range=${range:-1-1}
tasks=()
for task in $(seq "${range%-*}" "${range#*-}"); do
    SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=${range#*-} bash "$script" > "$script-$task.out" 2>&1 &
    tasks+=($!)
done
code=0
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit $code
"""


@pytest.mark.soak
def test_the_tasks_of_an_array_job_fill_one_store_together(
    tmp_path: Path, tiny_models: Mapping[str, Path], tiny_facts: Path
) -> None:
    place = tmp_path / "my.knstore"
    scripts = dict(zip(("array.sh", "rest.sh"), re.findall(r"```bash\n(#!.*?)```", PAGE, re.DOTALL), strict=True))
    for name, script in scripts.items():
        (tmp_path / name).write_text(script)
    (tmp_path / "exp.toml").write_text(
        f'data = "{tiny_facts}"\nmethods = ["amig", "bkn"]\nengine = "inline"\n'
        f'[[models]]\nsource = "{tiny_models["decoder"]}"\n'
    )
    for name, text in (
        ("sbatch", SBATCH),
        ("knscope", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m knscope.tui.cli "$@"\n'),
    ):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "STORE": str(place)}
    for script in scripts:
        done = subprocess.run(["sbatch", script], cwd=tmp_path, env=environment, check=False)
        said = {path.name: path.read_text() for path in tmp_path.glob("*.out")}
        assert done.returncode == 0, said
    assert len(said) == 5
    assert [one.status for one in Observer(place).settled()] == ["done"] * 5
    *tasks, rest = run_files.read_runs(place)
    with store.open(place) as reader:
        wanted = {(key, method) for method in ("amig", "bkn") for key in reader.sql("SELECT query FROM query")["query"]}
        found = reader.sql("SELECT query, method FROM attribution").rows()
        assert reader.sql("FROM pair").height > 0
    assert len(found) == len(wanted) == 6 * 2 * 2 * 2
    assert set(found) == wanted
    # Each task its own facts, each once; and the last finds them.
    assert sum(record.computed for record in tasks) == sum(record.total for record in tasks) == 24 + len(found)
    assert rest.total - rest.computed == 24 + len(found)


def test_the_container_is_built_of_files_that_are_here_and_not_kept_from_it() -> None:
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / source).exists() for source in copied)
