"""Adapters: tensors that change a model's weights from beside them. A model with one is refused: left in, its neurons' second linears
compute more than their weights say; left out, another model is looked at than the one that was named."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from transformers import PreTrainedModel

from knscope.analysis.errors import ModelError

NAMES = re.compile(
    r"lora|adapter|adaption|(^|[._])(ia3|loha|lokr|hada|vera|dora|oft|boft|delta)[._]"
    r"|base_layer|modules_to_save|soft_prompt|prompt_(encoder|embed|learn)|prefix_(encoder|tun)"
)
"""What adapters call their tensors."""
_MERGE = (
    "merge it (peft: merge_and_unload()), so that its name and hash are those of the merged weights, and use that model"
)


def check_adapted(model: Any, source: str) -> None:
    """Raise ModelError where a model in memory holds an adapter, or anything else that its architecture does not have: modules of another
    kind, tensors of other names, a forward or a hook that somebody put in."""
    if any(hasattr(model, name) for name in ("peft_config", "merge_and_unload", "active_adapter")) and (
        not isinstance(model, PreTrainedModel) or getattr(model, "_hf_peft_config_loaded", False)
    ):
        raise ModelError(f"{source}: holds an adapter ({type(model).__name__}); {_MERGE}")
    if not isinstance(model, PreTrainedModel):
        return
    fresh = _fresh(model)
    if fresh is None:
        return
    kinds = {name: type(module) for name, module in fresh.named_modules()}
    for name, module in model.named_modules():
        expected = kinds.get(name)
        what = f"{name or 'it'} is {_article(type(module).__name__)}"
        if expected is not type(module):
            usual = f"where {type(model).__name__} has {_article(expected.__name__) if expected else 'nothing'}"
            raise ModelError(f"{source}: holds an adapter or another change of its own ({what} {usual}); {_MERGE}")
        if changed := _changed(module):
            raise ModelError(
                f"{source}: {changed} was put into {name or type(model).__name__}, which may change what it computes; remove it first"
            )
    extra = sorted(set(model.state_dict()) - set(fresh.state_dict()))
    if extra:
        raise ModelError(
            f"{source}: holds tensors that {type(model).__name__} does not have, such as an adapter's ({extra[0]}); {_MERGE}"
        )


def _fresh(model: PreTrainedModel) -> Any:
    """The same architecture without weights; None where it cannot be made."""
    try:
        with torch.device("meta"):
            return type(model)(copy.deepcopy(model.config))
    except Exception:  # noqa: BLE001 - an architecture of somebody's own
        return None


def _changed(module: torch.nn.Module) -> str:
    """`a forward` or `a hook` that neither torch nor transformers set."""
    if "forward" in module.__dict__ and not hasattr(module, "_hf_hook"):
        return "a forward"
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    own = ("torch.", "transformers.", "accelerate.")
    return "a hook" if any(not str(getattr(hook, "__module__", "")).startswith(own) for hook in hooks) else ""


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
