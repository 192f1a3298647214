"""Every example of docs/data_forms.md is read as that page says."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

from knscope.analysis.datasets import load
from knscope.analysis.datasets.load import FILES, FOLDERS

PAGE = (Path(__file__).parents[3] / "docs" / "data_forms.md").read_text(encoding="utf-8")
EXAMPLES = dict(part.split("`**", 1) for part in PAGE.split("\n**`--data ")[1:])
"""What is written after --data, and the text up to the next one."""


@pytest.mark.parametrize("written", EXAMPLES)
def test_an_example_gives_the_prompts_that_stand_below_it(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = EXAMPLES[written]
    for name, content in re.findall(r"^File `([^`]+)`:\n```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    data, *options = shlex.split(written)
    columns = [option for option in options if option != "--column"]
    dataset = load(data, columns=columns)
    found = [" | ".join(row) for row in dataset.frame.select("fact_id", "lang", "template", "subject", "object").rows()]
    assert found == re.findall(r"^- `(.+)`$", text, re.MULTILINE)
    assert dataset.report.is_empty()
    file = Path(data.rpartition(":")[2])
    if file.is_file():
        Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
        assert load(f"{data}.gz", columns=columns).frame.equals(dataset.frame)


def test_every_published_kind_has_an_example() -> None:
    assert {written.partition(":")[0] for written in EXAMPLES if ":" in written} == {*FOLDERS, *FILES}
