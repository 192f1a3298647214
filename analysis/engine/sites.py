"""Where the neurons are: the input of each block's second MLP linear, found by role and proven on a forward pass.

A site's address is (module, call number): ALBERT runs one module once per layer. The probe records in which order
blocks and sites run, so nothing is derived from a family's name or from a configuration field. What cannot be proven
is refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from knscope.analysis.engine.experts import Experts, is_closed
from knscope.analysis.errors import ModelError

_ROLE = re.compile(
    r"(^|\.)(output\.dense|ffn_output|lin2|Wo|c_proj|fc_out|dense_4h_to_h|fc2|down_proj|wo"
    r"|feed_forward\.w2|ff\.layer_2|ffn\.linear_2|ffn\.2)$"
)
_NOT_MLP = re.compile(r"attn|attention|adapter|pooler|router|cross|\.gate\.", re.IGNORECASE)
_EXPERTS = re.compile(r"experts?(\.|$)|moe", re.IGNORECASE)


@dataclass(frozen=True)
class Site:
    """The neurons of one layer."""

    stack: str
    """'' unless the model has two stacks."""
    layer: int
    width: int
    offset: int
    """Place of this layer's neuron 0 in flat arrays over all neurons."""
    module: str
    """The second MLP linear, whose input is the neurons."""
    call: int
    """Which of the module's calls in a forward pass."""
    gated: bool
    block: int
    """Index into Anatomy.blocks."""
    feeders: tuple[str, ...]
    """The linears whose outputs make the neurons: one, or two (or one of double width) with a gate."""
    experts: int = 1
    """Routed experts that the neurons are of, as many of each."""


@dataclass(frozen=True)
class Block:
    """One call of a block, in the order in which blocks run."""

    module: str
    call: int


@dataclass(frozen=True)
class Anatomy:
    sites: tuple[Site, ...]
    blocks: tuple[Block, ...]

    @property
    def n_neurons(self) -> int:
        return self.sites[-1].offset + self.sites[-1].width


@dataclass(frozen=True)
class _Event:
    kind: str  # block | site | linear
    module: str
    call: int
    shape: tuple[int, ...]
    width: int
    faithful: bool


def find_sites(model: nn.Module, ids: Tensor, pattern: str | None = None, within: str = "") -> Anatomy:
    """Resolve and prove the sites of a model with one forward of `ids` (1, tokens).

    `pattern`: a regular expression for the paths of the second MLP linears, for a family whose names are unknown here.
    `within`: how the paths of the stack begin that holds them, where there are two.
    Raises ModelError, with an excerpt of the module tree, when the sites cannot be proven.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    candidates = [name for name in linears if name.startswith(within) and _is_candidate(name, pattern)]
    experts = [name for name, _ in model.named_modules() if _EXPERTS.search(name)]
    if experts and not any(isinstance(module, Experts) for module in model.modules()):
        raise ModelError(
            f"{type(model).__name__} routes tokens to experts ({experts[0]}), and these cannot be read as one layer of neurons: "
            + (
                "a model in memory stays as it is; save it with its tokenizer, and name the folder"
                if any(map(is_closed, model.modules()))
                else "their module is not of the common kind (as in mixtral, qwen3_moe, olmoe, gpt_oss, deepseek_v3), which is given "
                "the router's choice and weights and says how its tensors lie, so that the choice can be held fixed"
            )
        )
    if any(_block_of(name) is None for name in candidates):  # such as beside a vision tower's blocks
        candidates = _ran(model, ids, candidates)
    if not candidates:
        raise ModelError(f"no second MLP linear found in {type(model).__name__}; {_tree(linears)}")
    blocks = _blocks(model, candidates, linears)
    events = _trace(model, ids, blocks, set(candidates), linears)
    opened = {f"{name}.down_proj": one for name, one in model.named_modules() if isinstance(one, Experts)}
    asked = 0 if within else ids.numel()  # the decoder of two stacks has tokens of its own
    return _anatomy(events, linears, type(model).__name__, "decoder" if within else "", opened, asked)


def _ran(model: nn.Module, ids: Tensor, names: list[str]) -> list[str]:
    """Those of the modules that run on text."""
    seen: set[str] = set()
    with ExitStack() as stack, torch.no_grad():
        for name in names:
            hook = model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.add(name))
            stack.callback(hook.remove)
        model(input_ids=ids)
    return [name for name in names if name in seen]


def _blocks(model: nn.Module, candidates: list[str], linears: dict[str, Any]) -> set[str]:
    """The numbered modules beside those that hold the candidates, and these."""
    parents = set()
    for name in candidates:
        block = _block_of(name)
        if block is None:
            raise ModelError(f"{name} lies in no numbered block of {type(model).__name__}; {_tree(linears)}")
        parents.add(block.rpartition(".")[0])
    split = ((name, *name.rpartition(".")[::2]) for name, _ in model.named_modules())
    return {name for name, parent, last in split if parent in parents and last.isdigit()}


def _is_candidate(name: str, pattern: str | None) -> bool:
    if pattern is not None:
        return re.search(pattern, name) is not None
    return _ROLE.search(name) is not None and _NOT_MLP.search(name) is None


def _block_of(name: str) -> str | None:
    """The outermost numbered module of a path: `a.layer.3` of `a.layer.3.output.dense`."""
    match = re.match(r"^(.*?\.\d+)\.", name)
    return match.group(1) if match else None


def linear_width(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a Linear or Conv1D."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return (weight.shape[0], weight.shape[1]) if isinstance(module, Conv1D) else (weight.shape[1], weight.shape[0])


def _trace(model: nn.Module, ids: Tensor, blocks: set[str], sites: set[str], linears: dict[str, Any]) -> list[_Event]:
    """Run the model and list the blocks, candidate sites and other linears in the order in which they run."""
    events: list[_Event] = []
    calls: Counter[str] = Counter()

    def note(kind: str, name: str, tensor: Tensor, faithful: bool = True) -> None:
        events.append(_Event(kind, name, calls[name], tuple(tensor.shape), tensor.shape[-1], faithful))
        calls[name] += 1

    def on_block(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            note("block", name, next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))

        return hook

    def on_linear(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if name in sites:
                again = _apply_linear(module, args[0])
                slack = _slack(output.dtype)
                note("site", name, args[0], torch.allclose(again, output, rtol=10 * slack, atol=slack))
            elif isinstance(output, Tensor):  # a router may be a linear that gives out more
                note("linear", name, output)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name in blocks:
            handle = model.get_submodule(name).register_forward_pre_hook(on_block(name), with_kwargs=True)
            stack.callback(handle.remove)
        for name, module in linears.items():
            stack.callback(module.register_forward_hook(on_linear(name)).remove)
        model(input_ids=ids)
    return events


def _apply_linear(module: nn.Module, x: Tensor) -> Tensor:
    """The linear map by its weights alone: what a site's module must compute for ablations to mean what they say."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    y = x.to(weight.dtype) @ (weight if isinstance(module, Conv1D) else weight.T)
    return y + bias if isinstance(bias, Tensor) else y


def _anatomy(
    events: list[_Event], linears: dict[str, Any], family: str, stack: str, opened: dict[str, Experts], asked: int
) -> Anatomy:
    """`opened`: experts by the path of the second linear that serves them all; `asked`: tokens of the probe; 0: other than the stack's."""
    blocks: list[Block] = []
    sites: list[Site] = []
    feeders: list[_Event] = []
    tokens = hidden = 0
    for event in events:
        if event.kind == "block":
            blocks.append(Block(event.module, event.call))
            hidden, tokens, feeders = event.width, event.shape[0] * event.shape[-2], []
        elif event.kind == "linear":
            feeders.append(event)
        else:
            _check_site(event, linears, family, tokens, hidden)
            if asked and tokens != asked:
                raise ModelError(
                    f"{family} computes on {tokens} positions where the prompt has {asked} tokens, so none of its activations is a "
                    "prompt token's own"
                )
            if sites and sites[-1].block == len(blocks) - 1 and sites[-1].module == event.module:
                raise ModelError(
                    f"{event.module} of {family} runs several times within one block (chunked feed-forward?); "
                    "set chunk_size_feed_forward=0 in its configuration"
                )
            offset = sites[-1].offset + sites[-1].width if sites else 0
            gated, names = _makers(feeders, event.width)
            block, experts = len(blocks) - 1, 1
            if event.module in opened:
                gated, experts = opened[event.module].inner.has_gate, opened[event.module].count
            site = Site(stack, len(sites), event.width, offset, event.module, event.call, gated, block, names, experts)
            sites.append(site)
    if not sites:
        raise ModelError(f"no second MLP linear of {family} ran on a probe forward; {_tree(linears)}")
    return Anatomy(tuple(sites), tuple(blocks))


def _check_site(event: _Event, linears: dict[str, Any], family: str, tokens: int, hidden: int) -> None:
    """Raise ModelError unless the linear maps (tokens, width) to (tokens, hidden) by its weights alone."""
    width, out = linear_width(linears[event.module])
    seen = event.width == width and math.prod(event.shape) == tokens * width
    if not (seen and out == hidden and event.faithful):
        raise ModelError(
            f"{event.module} of {family} saw a tensor of shape {event.shape} where (tokens, {width}) -> {hidden} "
            "was expected, or computes more than its weights say; it cannot be read as a layer of neurons. "
            + _tree(linears)
        )


def _makers(feeders: list[_Event], width: int) -> tuple[bool, tuple[str, ...]]:
    """Whether the MLP has a gate, and the names of the linears of a block that feed `width` neurons."""
    makers = [each for each in feeders if each.width in (width, 2 * width) and not _NOT_MLP.search(each.module)]
    gated = len(makers) > 1 or any(each.width == 2 * width for each in makers)
    return gated, tuple(each.module for each in makers)


def _tree(linears: dict[str, Any]) -> str:
    def shown() -> Iterator[str]:
        for name, module in list(linears.items())[:12]:
            inputs, outputs = linear_width(module)
            yield f"{name} ({inputs} -> {outputs})"

    return (
        "its linear modules begin: "
        + "; ".join(shown())
        + ". Name the second MLP linears with --site REGEX, as in --site 'mlp\\.w2$'."
    )


def _slack(dtype: torch.dtype) -> float:
    """How far a linear map computed again may lie from the model's own: half precisions round each product."""
    return 1e-2 if dtype in (torch.float16, torch.bfloat16) else 1e-4
