"""Load a model from a hub id or folder: safetensors only, no remote code, explicit dtype."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)
from transformers.models.auto import modeling_auto

from knscope.analysis.engine import adapted, sources
from knscope.analysis.engine.experts import open_experts
from knscope.analysis.engine.guards import explained, quiet, uncollected
from knscope.analysis.engine.identity import ModelIdentity, tokenizer_hash, weights_hash
from knscope.analysis.engine.seq2seq import Sourced
from knscope.analysis.engine.sites import Anatomy, Site, find_sites
from knscope.analysis.errors import ModelError
from knscope.analysis.prompts.encode import BLANK, HIDDEN

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ONE_AT_A_TIME = threading.Lock()
"""transformers replaces `tie_weights` and torch's initialisers while it loads: two threads that load at once can leave
the replacements behind for good, and every later model of the process untied."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for reading and editing its neurons: in evaluation mode, no parameter requires a gradient."""

    model: Any
    tokenizer: Any
    kind: str
    """`encoder` (fills masks), `decoder` (predicts the next token) or `encoder-decoder` (says what a sentinel stands for)."""
    identity: ModelIdentity
    anatomy: Anatomy
    context: int
    """Tokens it can read."""

    @property
    def label(self) -> str:
        return self.identity.label

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.anatomy.sites

    @property
    def n_neurons(self) -> int:
        return self.anatomy.n_neurons

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.identity.dtype]

    @property
    def substitute(self) -> int:
        """The token that stands for a hidden word in eq. 3 unless a method names another: <mask>, <eos> for decoders, a
        sentinel where both are. Raises ModelError where a decoder has none."""
        if self.kind == "encoder-decoder":
            return int(self.tokenizer.convert_tokens_to_ids(HIDDEN))
        if self.kind == "encoder":
            return int(self.tokenizer.mask_token_id)
        if self.end is None:
            raise ModelError(
                f"{self.label}: its tokenizer has no eos token that the model knows, which a hidden word is replaced by; name another "
                "token with --method amig+substitute=TOKEN, or use a method that hides no word, such as bkn"
            )
        return self.end

    @property
    def end(self) -> int | None:
        """The eos token; None where the tokenizer has none, or one that was added to it alone."""
        found = self.tokenizer.eos_token_id
        return int(found) if found is not None and found < self.vocabulary else None

    def token_id(self, token: str) -> int:
        """The id of a token as the tokenizer writes it. Raises ModelError where the model has no such token."""
        found = self.tokenizer.convert_tokens_to_ids(token)
        unknown = found is None or (found == self.tokenizer.unk_token_id and token != self.tokenizer.unk_token)
        if unknown or found >= self.vocabulary:
            raise sources.no_token(token, self.label)
        return int(found)

    @property
    def causal(self) -> bool:
        """Whether all steps of a query are read off the longest of its sequences."""
        return self.kind != "encoder"

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows: the tokenizer's ids from here on were added to the tokenizer alone."""
        return _embedded(self.model)

    @property
    def start(self) -> int:
        """Encoder-decoders: the token that the decoder's input begins with."""
        assert isinstance(self.model, Sourced)
        return self.model.start


def load_model(
    source: str | Path, *, dtype: str = "float32", device: str = "cpu", threads: int | None = None
) -> LoadedModel:
    """A model from a folder or a hub id (`org/name`, `org/name@revision`): from the local cache if it is there.

    `device` is one device, or several joined by `+` (`cuda:0+cuda:1`) that hold one model's layers in turn. `threads`
    sets torch's threads for this process.
    Raises ModelError with what is wrong and what to do.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    placed = _placement(device)
    if threads is not None:
        torch.set_num_threads(threads)
    bare, site_pattern = sources.split_site(str(source))
    text = str(sources.folder_of(bare)) if sources.is_path(bare) else bare
    sources.check_folder(text)
    name, revision = sources.split_revision(text)
    with _ONE_AT_A_TIME, quiet(), uncollected(), explained(text):
        config = _fetch(AutoConfig, name, revision)
        commit = sources.cached_commit(text) or revision  # a branch must not move between two files
        auto, kind = _auto_class(config, text)
        sources.check_cached(text, commit)
        model, report = _fetch(
            auto,
            name,
            commit,
            config=config,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            output_loading_info=True,
            **placed,
        )
        tokenizer = _fetch(AutoTokenizer, name, commit, use_fast=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{text}: the weights lack {len(missing)} tensors of {type(model).__name__} (such as {missing[0]}), "
            "which would be random; use a checkpoint that holds its language-model head"
        )
    if adapter := next((key for key in sorted(report["unexpected_keys"]) if adapted.NAMES.search(key)), None):
        raise ModelError(
            f"{text}: its weights hold an adapter that the model has no place for ({adapter}); merge it and save the merged model"
        )
    if placed:
        _check_placed(model, text, device)
    else:
        model = model.to(device)
    label = (Path(text).resolve() if Path(text).is_dir() else Path(name)).name
    with explained(text):
        named = sources.with_site(text, site_pattern)
        return wrap_model(
            model, tokenizer, kind, name=label, source=named, revision=commit or "", site_pattern=site_pattern,
            ours=True,
        )  # fmt: skip


def chat_prefix(source: str, text: str) -> str:
    """A user's message in the model's own chat template, up to where its answer begins. Only the tokenizer is loaded. Raises
    ModelError where it has no chat template."""
    sources.check_folder(source)
    name, revision = sources.split_revision(source)
    with _ONE_AT_A_TIME, quiet(), uncollected(), explained(source):
        tokenizer = _fetch(AutoTokenizer, name, sources.cached_commit(source) or revision, use_fast=True)
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"{source}: its tokenizer has no chat template; put the text before the prompt with --prefix"
            )
        messages = [{"role": "user", "content": text}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _fetch(auto: Any, name: str, revision: str | None, **options: Any) -> Any:
    """What is on this machine, else what the hub has; never code."""
    options |= {"revision": revision or "main", "trust_remote_code": False}
    try:
        return auto.from_pretrained(name, local_files_only=True, **options)
    except OSError:
        if sources.is_path(name):
            raise
        return auto.from_pretrained(name, **options)


def _placement(device: str) -> dict[str, Any]:
    """Options of `from_pretrained` that spread a model over several devices; none for a single one."""
    devices = device.split("+")
    if any(one.startswith("cuda") for one in devices) and not torch.cuda.is_available():
        raise ModelError(f"device {device} is not available: torch sees no CUDA device here; use --device cpu")
    if len(devices) == 1:
        return {}
    if not all(one.startswith("cuda") for one in devices):
        raise ModelError(f"device {device}: a model is spread over GPUs only, as in cuda:0+cuda:1")
    if importlib.util.find_spec("accelerate") is None:
        raise ModelError(
            f"device {device} spreads a model over several, which needs accelerate: pip install 'knscope[split]'"
        )
    numbers = [torch.device(one).index or 0 for one in devices]
    room = {number: torch.cuda.mem_get_info(number)[0] for number in numbers}
    return {"device_map": "balanced", "max_memory": room}


def _check_placed(model: Any, text: str, device: str) -> None:
    where = {parameter.device.type for parameter in model.parameters()}
    if where != {"cuda"}:
        raise ModelError(f"{text}: does not fit on {device} together; name more devices or use --dtype bfloat16")


def wrap_model(
    model: Any,
    tokenizer: Any,
    kind: str,
    *,
    name: str,
    source: str = "memory",
    revision: str = "",
    site_pattern: str | None = None,
    ours: bool = False,
) -> LoadedModel:
    """A LoadedModel of a transformers model and fast tokenizer already in memory. Raises ModelError.

    :param ours: nobody else holds the model, so that its experts may be replaced by opened ones
    """
    if not ours:
        adapted.check_adapted(model, source if source != "memory" else name)
    _check_tokens(model, tokenizer, kind, source)
    model.eval().requires_grad_(False)
    architecture = type(model).__name__
    if kind == "encoder-decoder":
        model = Sourced(model)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    attention = str(getattr(model.config, "_attn_implementation", None) or "eager")
    identity = ModelIdentity(
        name,
        source,
        revision,
        architecture,
        dtype,
        attention,
        weights_hash(model, site_pattern),
        tokenizer_hash(tokenizer),
    )
    probe = probe_ids(model, tokenizer, rows=1, tokens=7)
    if ours:
        open_experts(model, probe)
    within = f"{model.decoder}." if isinstance(model, Sourced) else ""
    return LoadedModel(
        model, tokenizer, kind, identity, find_sites(model, probe, site_pattern, within), _context(model, tokenizer)
    )


def _check_tokens(model: Any, tokenizer: Any, kind: str, source: str) -> None:
    """Raises ModelError where the tokenizer lacks what a model of this kind needs of it, or has tokens that the model lacks."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{source}: its tokenizer has no fast version, so tokens cannot be traced to characters; convert it first"
        )
    needed = {"encoder": "mask", "encoder-decoder": "eos"}.get(kind)  # a decoder's methods may need none
    if kind == "encoder-decoder" and tokenizer.convert_tokens_to_ids(HIDDEN) in (None, tokenizer.unk_token_id):
        raise ModelError(
            f"{source}: its tokenizer has no {BLANK} and {HIDDEN}, which say where the answer and a hidden word were; "
            "of encoder-decoders those like t5 and mt5 work"
        )
    if needed and getattr(tokenizer, f"{needed}_token_id") is None:
        raise ModelError(
            f"{source}: its tokenizer has no {needed} token, which a hidden word is replaced by; "
            "add one to its configuration"
        )
    _check_vocabulary(model, tokenizer, source)
    put_in = {f"the {needed} token": getattr(tokenizer, f"{needed}_token_id")} if needed else {}
    if kind == "encoder-decoder":
        put_in |= {name: tokenizer.convert_tokens_to_ids(name) for name in (BLANK, HIDDEN)}
    if beyond := [name for name, token in put_in.items() if token >= _embedded(model)]:
        raise ModelError(
            f"{source}: {beyond[0]} was added to its tokenizer and not to the model, which knows {_embedded(model)} tokens; "
            "name one of these in the tokenizer's configuration"
        )


def _embedded(model: Any) -> int:
    """Tokens that the model has an embedding of."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    if weight is None:
        raise ModelError(f"{type(model).__name__} has no table of token embeddings, by which a prompt would enter")
    return int(weight.shape[0])


def _check_vocabulary(model: Any, tokenizer: Any, source: str) -> None:
    """transformers makes an empty tokenizer of a folder that has none, and takes one of another model."""
    rows = _embedded(model)
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(
            f"{source}: its tokenizer knows no token but special ones; its files (tokenizer.json, or a vocabulary) are missing"
        )
    if tokenizer.vocab_size > rows:
        raise ModelError(
            f"{source}: its tokenizer has {tokenizer.vocab_size} tokens and the model only {rows}; "
            "they do not belong together"
        )


def probe_ids(model: Any, tokenizer: Any, rows: int, tokens: int) -> Tensor:
    """(rows, tokens) of ordinary token ids, the same at every call, no two rows alike; behind a source of five where the
    model wants one."""
    vocabulary = _embedded(model)
    special = set(tokenizer.all_special_ids)
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(vocabulary, generator=generator).tolist()
    ordinary = [token for token in shuffled if token not in special]
    ids = [ordinary[index % len(ordinary)] for index in range(rows * tokens)]
    found = torch.tensor(ids, device=next(model.parameters()).device).view(rows, tokens)
    if not isinstance(model, Sourced):
        return found
    source = found.roll(1, dims=1).repeat(1, 5)[:, :5]
    return torch.cat([source, torch.full_like(found[:, :1], model.start), found[:, 1:]], dim=1)


def _auto_class(config: Any, source: str) -> tuple[Any, str]:
    """Which head to load: what the checkpoint says it is, else what its model type has (fills masks before next
    token)."""
    if getattr(config, "is_encoder_decoder", False):
        if config.model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            return AutoModelForSeq2SeqLM, "encoder-decoder"
        raise ModelError(f"{source}: {config.model_type} is an encoder-decoder without a language-model head")
    masked, causal = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    seeing = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    for architecture in config.architectures or ():
        if architecture in masked.values():
            return AutoModelForMaskedLM, "encoder"
        if architecture in causal.values():
            return AutoModelForCausalLM, "decoder"
        if architecture in seeing.values():  # a model that sees: its text tower, asked without an image
            return AutoModelForImageTextToText, "decoder"
    if config.model_type in masked and not getattr(config, "is_decoder", False):
        return AutoModelForMaskedLM, "encoder"
    if config.model_type in causal:
        return AutoModelForCausalLM, "decoder"
    raise ModelError(
        f"{source}: {config.model_type} has no head that fills masks or predicts the next token; "
        "use an encoder with a masked-LM head or a decoder with a causal-LM head"
    )


def _context(model: Any, tokenizer: Any) -> int:
    """Tokens the model can read: what the configuration says, less the rows that some position tables keep for
    padding."""
    limits = [int(tokenizer.model_max_length)]
    config = model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            limits.append(value)
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Embedding)
            and "position" in name
            and "vision" not in name
            and module.padding_idx is not None
        ):
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min(limits)
