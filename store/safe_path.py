"""Where Python looks for modules: never in the working folder, nor in a folder of PYTHONPATH in which nothing is installed.

People work in folders that hold an `analysis.py`, a `torch.py` or a `queue.py` of their own, and none of it is ours to run. A command
calls `clean` before it imports anything else, so this module imports nothing but what Python has imported when it starts.
"""
# ruff: noqa: PTH100, PTH120, PTH208 - pathlib imports modules that a folder of PYTHONPATH could hold

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(str(sys.modules[__name__.partition(".")[0]].__file__))))
"""The folder that our top-level package lies in."""
STANDARD = os.path.dirname(os.path.abspath(os.__file__))


def clean() -> None:
    """Take the folders that do not count off this process's path, and off that of all processes that it starts."""
    # The first is the folder of the script, or for `python -m` the working folder.
    script = [] if sys.flags.safe_path else sys.path[:1]
    wrong = {os.path.abspath(folder) for folder in (*script, *_pythonpath()) if not _counts(folder)}
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) not in wrong]
    wanted = environment()
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(wanted)


def environment() -> dict[str, str]:
    """The environment variables of a Python process that we start."""
    folders = [os.path.abspath(folder) for folder in _pythonpath() if _counts(folder)]
    if ROOT not in folders and not _is_installation(ROOT):  # a checkout
        folders.append(ROOT)
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}
    return {**others, **path, "PYTHONSAFEPATH": "1"}


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a module. `-P`: nothing is imported from the working folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def _pythonpath() -> list[str]:
    """An empty entry means the working folder, as it does to Python."""
    given = os.environ.get("PYTHONPATH")
    return given.split(os.pathsep) if given else []


def _counts(folder: str) -> bool:
    """Whether a folder is one of packages that somebody installed (as clusters and `pip install --target` do), Python's or ours."""
    path = os.path.abspath(folder)
    return path == ROOT or (path + os.sep).startswith(STANDARD + os.sep) or _is_installation(path)


def _is_installation(folder: str) -> bool:
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False
