"""METHOD's attribution, literally: one path, one layer, one node at a time, with full forwards and one hook.

Slow and plain on purpose; the package's fast version must give the same numbers. Nothing of the package's passes,
quadrature or attribution is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from knscope.analysis.attribution.method import MethodConfig
from knscope.analysis.engine.models import LoadedModel
from knscope.analysis.prompts.encode import EncodedQuery, Step


def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Roots of the Legendre polynomial by Newton's method from its usual first guess, mapped to [0, 1]."""
    x = np.cos(np.pi * (np.arange(1, n + 1) - 0.25) / (n + 0.5))
    for _ in range(100):
        p0, p1 = np.ones_like(x), x.copy()
        for k in range(2, n + 1):
            p0, p1 = p1, ((2 * k - 1) * x * p1 - (k - 1) * p0) / k
        slope = n * (x * p1 - p0) / (x * x - 1) if n > 1 else np.ones_like(x)
        x = x - p1 / slope
    weights = 2 / ((1 - x * x) * slope * slope)
    return (x + 1) / 2, weights / 2


def gauss_lobatto(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on (1 - x^2) P'_{n-1} from the Chebyshev points that have both ends too, mapped to [0, 1]."""
    x = np.cos(np.pi * np.arange(n) / (n - 1))
    for _ in range(200):
        p0, p1 = np.ones_like(x), x.copy()
        for k in range(2, n):
            p0, p1 = p1, ((2 * k - 1) * x * p1 - (k - 1) * p0) / k
        x = x - (x * p1 - p0) / (n * p1)
    return (x + 1) / 2, 1 / (n * (n - 1) * p1 * p1)


def rule(name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    if name == "gauss-legendre":
        return gauss_legendre(n)
    if name == "gauss-lobatto":
        return gauss_lobatto(n)
    at = {
        "right": [k / n for k in range(1, n + 1)],
        "left": [k / n for k in range(n)],
        "endpoints": np.linspace(0, 1, n),
    }
    return np.array(at[name]), np.full(n, 1 / n)


class Literal:
    def __init__(
        self,
        loaded: LoadedModel,
        site_paths: list[str],
        method: MethodConfig,
        others: Callable[[EncodedQuery], Sequence[EncodedQuery]] = lambda query: (),
    ) -> None:
        self.model, self.loaded, self.method, self.others = loaded.model, loaded, method, others
        self.sites = [loaded.model.get_submodule(path) for path in site_paths]

    def activations(self, ids: tuple[int, ...]) -> list[torch.Tensor]:
        """(tokens, width) per layer."""
        found: list[torch.Tensor] = []
        handles = [site.register_forward_pre_hook(lambda _, args: found.append(args[0][0])) for site in self.sites]
        self.model(input_ids=torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        return found

    def f(self, step: Step, layer: int, value: torch.Tensor) -> torch.Tensor:
        """F with the layer's neurons (width,) at the answer position, or (tokens, width) at all, set to `value`."""

        def overwrite(_: object, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            if value.dim() == 2:
                return (value[None],)
            rows = [value if i == step.position else args[0][0, i] for i in range(args[0].shape[1])]
            return (torch.stack(rows)[None],)

        handle = self.sites[layer].register_forward_pre_hook(overwrite)
        logits = self.model(input_ids=torch.tensor([step.ids])).logits[0, step.position]
        handle.remove()
        if self.method.target == "logit":
            return logits[step.gold]
        p = logits.exp()[step.gold] / logits.exp().sum()
        return p if self.method.target == "prob" else p.log()

    def starts(self, query: EncodedQuery, step: Step) -> list[list[torch.Tensor]]:
        """Per path, w' by layer."""
        whole = self.method.positions == "all"

        def read(ids: list[int]) -> list[torch.Tensor]:
            return [x if whole else x[step.position] for x in self.activations(tuple(ids))]

        def hidden(places: tuple[int, ...]) -> list[int]:
            name, tokenizer = self.method.substitute, self.loaded.tokenizer
            put_in = tokenizer.get_vocab()[name] if name else self.loaded.substitute
            return [put_in if i in places else token for i, token in enumerate(step.ids)]

        if self.method.baseline == "zero":
            return [[torch.zeros_like(x) for x in read(list(step.ids))]]
        if self.method.baseline in ("mean", "resample"):
            means = []
            for other in self.others(query):
                of_steps = [[x[s.position] for x in self.activations(s.ids)] for s in other.steps]
                means.append([sum(layer) / len(of_steps) for layer in zip(*of_steps, strict=True)])
            return [[torch.stack(layer).mean(0) for layer in zip(*means, strict=True)]]
        if self.method.baseline == "mean_tokens":
            reads = [read(hidden((place,))) for place in range(len(step.ids))]
            return [[torch.stack([r[layer] for r in reads]).mean(0) for layer in range(len(self.sites))]]
        words = query.words
        if self.method.last_word == "drop" and self.loaded.kind == "decoder":
            words = tuple(w for w in words if step.position not in w.tokens) or words
        return [read(hidden(word.tokens)) for word in words]

    def scores(self, query: EncodedQuery, nodes: Callable[[int, int, int], int]) -> np.ndarray:
        """(neurons,); nodes(step, path number, layer) is how many nodes to take."""
        total = None
        for t, step in enumerate(query.steps):
            clean = [x if self.method.positions == "all" else x[step.position] for x in self.activations(step.ids)]
            layers = []
            for layer, w in enumerate(clean):
                score = torch.zeros(w.shape[-1], dtype=w.dtype)
                for path, start in enumerate(self.starts(query, step)):
                    w0 = start[layer]
                    gradient = torch.zeros_like(w)
                    for a, c in zip(*rule(self.method.rule, nodes(t, path, layer)), strict=True):
                        x = (w0 + float(a) * (w - w0)).detach().requires_grad_(True)
                        gradient += float(c) * torch.autograd.grad(self.f(step, layer, x), x)[0]
                    each = (w - w0 if self.method.multiplier == "difference" else w) * gradient
                    score += each.sum(0) if each.dim() == 2 else each
                layers.append(score)
            step_scores = torch.cat(layers).detach().numpy()
            total = step_scores if total is None else total + step_scores
        assert total is not None
        if self.method.target != "logprob":
            total = total / len(query.steps)
        if self.method.normalise == "layer":
            low = 0
            for w in clean:
                part = total[low : low + w.shape[-1]]
                divided = part / part.sum()
                total[low : low + w.shape[-1]] = [-abs(d) if p < 0 else d for d, p in zip(divided, part, strict=True)]
                low += w.shape[-1]
        return total
