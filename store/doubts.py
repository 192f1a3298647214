"""Shards that cannot be read, and may be soon: on a folder that is copied or shared, the files of one may come into sight one by one."""

from __future__ import annotations

import time

SECONDS = 10.0
"""For how long a shard is tried again, by the reader's own clock; what is still not whole then is damaged."""
EVERY = 0.5


class Doubts:
    """When each shard was first tried in vain, and last."""

    def __init__(self) -> None:
        self._tried: dict[str, tuple[float, float]] = {}

    def due(self, shard: str) -> bool:
        """Whether to try now: always the first time, then now and then."""
        return shard not in self._tried or time.monotonic() - self._tried[shard][1] >= EVERY

    def in_vain(self, shard: str) -> bool:
        """It could not be read; True when there is no hope left."""
        now = time.monotonic()
        first = self._tried.get(shard, (now, now))[0]
        self._tried[shard] = (first, now)
        return now - first >= SECONDS
