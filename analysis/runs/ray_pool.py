"""`--engine ray`: the units of a run on the actors of a ray cluster, or of one that is started on this machine.

Results are committed to the store by the actors themselves, so on several machines the store lies in a folder that all
of them see. Ray is optional and imported only here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knscope.analysis.runs import process_pool
from knscope.analysis.runs.config import RunConfig
from knscope.analysis.runs.protocol import WorkerSettings
from knscope.analysis.runs.slots import MAX_DEATHS, Executor, Outcome, Slot, failed, fault
from knscope.analysis.runs.units import Unit
from knscope.store import runs as run_files
from knscope.store.errors import UserError


class Actor:
    """A model worker in a process that ray keeps."""

    def __init__(self, store_path: str, run: str, settings: WorkerSettings) -> None:
        from knscope.analysis.runs import worker

        self._place = Path(store_path), run
        self._worker = worker.Worker(Path(store_path), run, settings)

    def compute(self, unit: Mapping[str, Any]) -> dict[str, Any]:
        wanted = Unit.from_json(unit)
        try:
            stored, model = self._worker.compute(wanted, lambda: run_files.cancel_requested(*self._place))
        except Exception as error:  # noqa: BLE001 - a unit that fails is reported, and the next one served
            return fault(error, wanted.source not in self._worker.loaded)
        return {"stored": stored, "model": model, "loaded": self._worker.loaded}


@dataclass
class _Place(Slot):
    actor: Any = None
    answer: Any = None
    """Of the present unit, to wait for."""


class RayExecutor(Executor[_Place]):
    """One actor a slot; an actor that dies is replaced, and its unit tried again a few times."""

    def __init__(self, store_path: Path, run: str, config: RunConfig) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        import ray

        self._ray = ray
        self._store_path, self._run = store_path.resolve(), run
        os.chdir(run_files.run_folder(self._store_path, run))  # actors import from where their driver stands
        cluster = os.environ.get("RAY_ADDRESS")
        try:
            ray.init(address=cluster, include_dashboard=False if cluster is None else None, log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--engine ray: no cluster answers at {cluster or 'this machine'} ({error})") from error
        wanted = _settings(config, ray.cluster_resources(), cluster is not None)
        super().__init__([_Place(one) for one in wanted])

    def slots(self) -> list[str]:
        """Each actor for itself: they may be on different machines."""
        return [f"{slot.settings.device} of actor {number}" for number, slot in enumerate(self._slots)]

    def submit(self, slot: int, unit: Unit) -> None:
        held = self._slots[slot]
        held.deaths, held.cancelled = 0, False
        self._send(held, unit)

    def outcomes(self, timeout: float) -> list[Outcome]:
        waiting = {slot.answer: slot for slot in self._slots if slot.unit is not None}
        if not waiting:
            return []
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout)
        found = [outcome for answer in ready if (outcome := self._settle(waiting[answer])) is not None]
        for slot in self._overdue():
            self._ray.kill(slot.actor)  # its answer is an error then, as after any death
        return found

    def cancel(self) -> None:
        """Actors look for the run's file `cancel` between passes."""
        self._cancel()
        with suppress(OSError):  # a disk so full that it cannot be made: they do their unit to its end
            run_files.request_cancel(self._store_path, self._run)

    def close(self) -> None:
        for slot in self._slots:
            if slot.actor is not None:
                self._ray.kill(slot.actor)
        self._ray.shutdown()

    def _send(self, slot: _Place, unit: Unit) -> None:
        self._give(slot, unit)
        if slot.actor is None:
            gpus = sum(one.startswith("cuda") for one in slot.settings.device.split("+"))
            actor = self._ray.remote(Actor).options(num_cpus=1, num_gpus=gpus)
            slot.actor = actor.remote(str(self._store_path), self._run, slot.settings)
            slot.sources = set()
        slot.answer = slot.actor.compute.remote(unit.to_json())

    def _settle(self, slot: _Place) -> Outcome | None:
        assert slot.unit is not None
        try:
            said = self._ray.get(slot.answer)
        except self._ray.exceptions.RayActorError as error:
            slot.actor, slot.deaths = None, slot.deaths + 1
            left = None if slot.cancelled else self.rest(slot.unit)
            if left is None:
                unit, slot.unit = slot.unit, None
                return Outcome(unit)
            slot.unit = left
            if slot.deaths < MAX_DEATHS:
                self._send(slot, left)
                return None
            loading = slot.unit.phase == "load"
            message = f"its process died {MAX_DEATHS} times ({type(error).__name__})"
            said = {"message": message, "fatal": loading, "cause": "load" if loading else "unit"}
        else:
            self._heard(slot)
        unit, slot.unit = slot.unit, None
        if "message" in said:
            return failed(unit, self._slots.index(slot), said)
        slot.sources = set(said["loaded"])
        return Outcome(unit, stored=said["stored"], model=said["model"])


def _settings(config: RunConfig, resources: Mapping[str, float], cluster: bool) -> list[WorkerSettings]:
    """An actor for each GPU of the cluster, else for each processor. Ray shows an actor its own GPUs as cuda:0, …"""
    gpus = int(resources.get("GPU", 0))
    if config.device == "auto" and gpus:
        devices = ["cuda:0"] * gpus
    elif config.device in ("auto", "cpu") and cluster:
        devices = ["cpu"] * (config.processes or max(1, int(resources.get("CPU", 1))))
    else:
        return [
            replace(one, device="+".join(f"cuda:{n}" for n in range(one.device.count("+") + 1)))
            if one.device.startswith("cuda")
            else one
            for one in process_pool.settings_of(config)
        ]
    return [WorkerSettings(device, config.dtype, config.memory, dense=config.dense) for device in devices]
