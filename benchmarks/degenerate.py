"""Algorithm 1's scan of 20 neurons (20 singles, 190 pairs) at GPT-2's dimensions, beside one full forward for each."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import _made_models as made
from benchmarks._rounds import child, error, rounds, show, timed, verdict

WANTED = 20.0


def chosen(neurons: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(neurons, 20, replace=False))


def ours(folder: Path) -> Mapping[str, Any]:
    from knscope.analysis.dkn.measure import scan_roles
    from knscope.analysis.engine.replay import Engine

    torch.set_num_threads(1)
    loaded = made.load("decoder", made.gpt2())
    engine, query = Engine(loaded), made.query(loaded)
    with timed() as found:
        neurons, rel = chosen(loaded.n_neurons), np.zeros(loaded.n_neurons)
        ((_, result),) = scan_roles(engine, query, neurons, rel, ("kn",), seed=0)
    np.save(folder / "ours.npy", result.p)
    return found


def forwards(folder: Path) -> Mapping[str, Any]:
    """A hook that zeroes the neurons at the last token, and the whole model, 210 times."""
    torch.set_num_threads(1)
    loaded = made.load("decoder", made.gpt2())
    (step,) = made.query(loaded).steps
    ids, everyone = torch.tensor([step.ids]), chosen(loaded.n_neurons)
    sets = [[a] for a in everyone] + [[a, b] for i, a in enumerate(everyone) for b in everyone[i + 1 :]]
    width, p = loaded.sites[0].width, []
    with timed() as found, torch.no_grad():
        for neurons in sets:
            handles = []
            for layer in {int(neuron) // width for neuron in neurons}:
                mine = [int(neuron) % width for neuron in neurons if neuron // width == layer]

                def zero(_module: Any, args: Any, mine: list[int] = mine) -> Any:
                    x = args[0].clone()
                    x[:, -1, mine] = 0
                    return (x,)

                module = loaded.model.get_submodule(loaded.sites[layer].module)
                handles.append(module.register_forward_pre_hook(zero))
            p.append(float(loaded.model(ids).logits[0, -1].softmax(-1)[step.gold]))
            for handle in handles:
                handle.remove()
    np.save(folder / "forwards.npy", np.array(p))
    return found


def main() -> int:
    if child({"ours": ours, "forwards": forwards}):
        return 0
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="knscope-bench-") as place:
        results = rounds("benchmarks.degenerate", {"forwards": None, "ours": None}, n, Path(place))
        difference = error(Path(place), "ours", "forwards")
    ratio = results["forwards"].median / results["ours"].median
    rows = [
        ["one full forward each", str(results["forwards"]), "", ""],
        ["knscope", str(results["ours"]), f"{difference:.1e}", verdict(ratio, WANTED)],
    ]
    columns = ("20 singles and 190 pairs, GPT-2 dimensions, 12 tokens", "CPU, median", "difference", "faster")
    show(f"degenerate neurons, {n} rounds in turn, one thread", columns, rows)
    return int(ratio < WANTED)


if __name__ == "__main__":
    sys.exit(main())
