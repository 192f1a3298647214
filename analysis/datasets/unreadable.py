"""Forms in which people have facts and that are not read: for each the step that makes it readable."""

import re
from pathlib import Path

from knscope.store.errors import UserError

_SHEET = "a spreadsheet; save it as CSV (UTF-8)"
_PICKLE = (
    "a pickle, which can run code when it is opened, so it is never opened here; where you trust it: "
    "python -c \"import pandas; pandas.read_pickle('{name}').to_json('facts.jsonl', orient='records', lines=True)\""
)
_TENSORS = (
    "a file of torch, a pickle, which can run code when it is opened, so it is never opened here; where you trust it, load it "
    "with torch.load and write its facts as JSON lines"
)
_PACKED = "an archive; unpack it ({step}) and name what is in it"
STEPS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    **dict.fromkeys((".pth", ".pt", ".bin", ".ckpt"), _TENSORS),
    ".zip": _PACKED.replace("{step}", "unzip {name}"),
    ".tar": _PACKED.replace("{step}", "tar -xf {name}"),
    ".tgz": _PACKED.replace("{step}", "tar -xf {name}"),
    ".7z": _PACKED.replace("{step}", "7z x {name}"),
    ".bz2": _PACKED.replace("{step}", "bunzip2 {name}"),
    ".xz": _PACKED.replace("{step}", "unxz {name}"),
    ".zst": _PACKED.replace("{step}", "unzstd {name}"),
    **dict.fromkeys(
        (".arrow", ".feather"),
        "an Arrow file; python -c \"import polars; polars.read_ipc('{name}').write_parquet('facts.parquet')\"",
    ),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".xml", ".txt"), "no table; write its facts as CSV or JSON lines"),
}
"""Suffix to what the file is and what to do; `{name}` is the file."""
_ARROW = (
    "{folder} was written by save_to_disk of `datasets`; "
    "python -c \"import datasets; datasets.load_from_disk('{folder}').to_parquet('facts.parquet')\""
)


_BEGINNINGS = (
    (rb"version https://git-lfs", "a pointer of Git LFS that stands for the file; fetch the file itself: git lfs pull"),
    (
        rb"\s*<(!doctype\s+html|html|\?xml)",
        "a web page; download the file itself (on a repository's page: raw, or download)",
    ),
    (rb"(404: )?not found\s*$", "what a server says that does not have the file; look for its address again"),
    (rb"pk\x03\x04", "a .zip archive or a spreadsheet, whatever its name says; unpack it, or save it as CSV (UTF-8)"),
    (rb"\x1f\x8b", "packed with gzip; give its name the ending .gz"),
    (rb"par1", "a Parquet file; give its name the ending .parquet"),
    (rb"\x80[\x02-\x05]", _PICKLE),
)
"""How a file begins that is something else than its name says, in small letters; what it is and what to do."""
HEAD = 200
"""Bytes of a file's beginning that tell what it is."""


def refuse_content(path: Path, head: bytes) -> None:
    """Raise UserError for a file that begins as something else than its name says; `head`: its first HEAD bytes."""
    if path.suffix.lower() == ".parquet" and head.startswith(b"PAR1"):
        return
    for pattern, what in _BEGINNINGS:
        if re.match(pattern, head.lower()):
            raise UserError(f"{path} is {what.replace('{name}', str(path))}")


def refuse_file(path: Path) -> None:
    """Raise UserError for a file in a form that is known and not read."""
    step = STEPS.get(path.suffix.lower())
    if path.name.lower().endswith(".tar.gz"):
        step = STEPS[".tar"]
    if step:
        raise UserError(f"{path} is {step.replace('{name}', str(path))}")


def refuse_folder(folder: Path) -> None:
    """Raise UserError for a folder that `datasets` wrote."""
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise UserError(f"{folder} holds the splits {', '.join(splits)} of `datasets`; name one of these folders")
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        raise UserError(_ARROW.replace("{folder}", str(folder)))
