"""A process that writes made-up facts into a store, one shard each, skipping those stored.

`python -m tests.store.writer STORE FIRST LAST`
"""

from __future__ import annotations

import sys
from pathlib import Path

from knscope import store
from knscope.store import runs
from knscope.store.shards import write_shard
from tests.store import synthetic

SIZE = synthetic.Size(facts=0, models=synthetic.MODELS[:1], methods=("amig",), langs=("en", "zh"))


def main(path: Path, first: int, last: int) -> None:
    run = runs.new_run(path, {})
    with store.open(path) as reader:
        print("ready", flush=True)
        for fact in range(first, last):
            reader.poll()
            frames, dense = synthetic.made_frames(SIZE, range(fact, fact + 1))
            if not set(frames["attribution"]["key"]) <= reader.keys("attribution"):
                write_shard(path, run, frames, dense)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
