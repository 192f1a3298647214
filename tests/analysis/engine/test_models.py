"""Loading: what works, and what every wrong source is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from knscope.analysis.attribution.integrate import attribute
from knscope.analysis.attribution.method import parse_method
from knscope.analysis.engine import sources
from knscope.analysis.engine.inspection import inspect
from knscope.analysis.engine.models import chat_prefix, load_model, wrap_model
from knscope.analysis.engine.replay import Engine
from knscope.analysis.engine.sites import find_sites
from knscope.analysis.errors import ModelError, UnusableQuery
from knscope.analysis.prompts.encode import Query, encode
from tests import families, random_models


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_saved_model_folders_load_with_their_kind(tiny_models: Mapping[str, Path], kind: str) -> None:
    loaded = load_model(tiny_models[kind])
    assert loaded.kind == kind
    assert loaded.label.startswith(f"tiny-{kind}@") and len(loaded.label.partition("@")[2]) == 8
    assert [site.width for site in loaded.sites] == [48, 48]
    assert [site.offset for site in loaded.sites] == [0, 48]
    assert loaded.n_neurons == 96
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training


def test_model_label_depends_on_weights_dtype_and_tokenizer_only(
    tiny_models: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = tiny_models["encoder"]
    label = load_model(folder).label
    assert load_model(folder).label == label
    assert load_model(shutil.copytree(folder, tmp_path / "x" / folder.name)).label == label
    half = load_model(folder, dtype="bfloat16").label
    assert half.startswith(f"{folder.name}-bfloat16@") and half.partition("@")[2] != label.partition("@")[2]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["new"])
    loaded = load_model(folder)
    assert wrap_model(loaded.model, tokenizer, "encoder", name=loaded.identity.name).label != label
    with torch.no_grad():
        next(loaded.model.parameters()).view(-1)[0] += 1
    assert wrap_model(loaded.model, loaded.tokenizer, "encoder", name=loaded.identity.name).label != label


def test_message_is_rendered_with_the_models_own_chat_template(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models["decoder"], tmp_path / "chat")
    with pytest.raises(ModelError, match=r"no chat template.*--prefix"):
        chat_prefix(str(folder), "Go on.")
    template = "<eos>{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    prefix = chat_prefix(str(folder), "Go on.")
    assert prefix == "<eos><user>Go on.\n<assistant>"
    query = Query("fr", "P36", "en", "the capital of [X] is [Y]", "france", "paris", prefix)
    ids = encode(load_model(folder), query).steps[0].ids
    assert ids.count(5) == 1, "the token that begins the text is there once"


def refused(source: Path | str, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(source)
    assert text in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_model_errors_say_what_is_wrong(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    good = tiny_models["encoder"]
    refused(tmp_path / "nowhere", "no such folder")
    refused(good / "config.json", "is a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "config.json")
    bare = shutil.copytree(good, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    refused(bare, "holds no weights")
    torch.save({}, bare / "pytorch_model.bin")
    refused(bare, "pickle")


def test_adapters_are_refused_alone_beside_a_base_and_inside_weights(
    tiny_models: Mapping[str, Path], tmp_path: Path
) -> None:
    good = tiny_models["decoder"]
    alone = tmp_path / "alone"
    alone.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(good), "r": 4, "target_modules": ["c_attn"]}
    (alone / "adapter_config.json").write_text(json.dumps(config))
    refused(alone, "holds an adapter")
    beside = shutil.copytree(good, tmp_path / "beside")
    save_file({"lora_A.weight": torch.zeros(4, 24)}, beside / "adapter_model.safetensors")
    refused(beside, "holds an adapter")
    inside = shutil.copytree(good, tmp_path / "inside")
    weights = load_file(inside / "model.safetensors") | {
        "transformer.h.0.attn.c_attn.lora_A.weight": torch.zeros(4, 24)
    }
    save_file(weights, inside / "model.safetensors", metadata={"format": "pt"})
    refused(inside, "an adapter that the model has no place for (transformer.h.0.attn.c_attn.lora_A.weight)")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("weights.bin", "only *.safetensors in the same folder"),
        ("../encoder/model.safetensors", "only *.safetensors in the same folder"),
        ("/etc/passwd", "only *.safetensors in the same folder"),
        ("/tmp/model.safetensors", "only *.safetensors in the same folder"),
        ("model\0.safetensors", "only *.safetensors in the same folder"),
        (7, "only *.safetensors in the same folder"),
        ("other.safetensors", "which is not there"),
    ],
)
def test_an_index_that_names_anything_but_safetensors_of_its_folder_is_refused_unread(
    tiny_models: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: object, message: str
) -> None:
    folder = shutil.copytree(tiny_models["decoder"], tmp_path / "indexed")
    (folder / "weights.bin").write_bytes(b"no pickle")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"transformer.wte.weight": named}}))
    monkeypatch.setattr(
        "knscope.analysis.engine.models.AutoConfig.from_pretrained", None
    )  # nothing of it reaches transformers
    refused(folder, message)
    index.unlink()
    config = json.loads((folder / "config.json").read_text())
    if message != "which is not there":
        (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": named}))
        refused(folder, message)


def test_a_model_in_several_files_is_loaded(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    whole = load_model(tiny_models["decoder"])
    whole.model.save_pretrained(tmp_path / "m[1]?", max_shard_size="8KB")
    whole.tokenizer.save_pretrained(tmp_path / "m[1]?")
    assert not (tmp_path / "m[1]?" / "model.safetensors").exists()
    assert load_model(tmp_path / "m[1]?").identity.weights_hash == whole.identity.weights_hash


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", "[]"),
        ("config.json", '{"model_type": "gpt2", "n_inner": "x"}'),
        ("config.json", '{"model_type": "gpt2", "n_head": -1}'),
        ("model.safetensors.index.json", "null"),
        ("model.safetensors.index.json", "{}"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_broken_model_file_gives_a_one_sentence_error(
    tiny_models: Mapping[str, Path], tmp_path: Path, file: str, text: str
) -> None:
    folder = shutil.copytree(tiny_models["decoder"], tmp_path / "broken")
    (folder / file).write_text(text)
    refused(folder, str(folder))


def test_encode_refuses_tokens_that_the_model_has_no_embedding_of(tiny_models: Mapping[str, Path]) -> None:
    loaded = load_model(tiny_models["decoder"])
    loaded.tokenizer.add_tokens(["Dodoma"])
    with pytest.raises(UnusableQuery, match="'dodoma' was added to the tokenizer"):
        encode(loaded, Query("tz", "P36", "en", "The capital of [X] is [Y]", "France", "Dodoma"))
    assert encode(loaded, Query("fr", "P36", "en", "The capital of [X] is [Y]", "France", "Paris")).steps


def test_load_model_refuses_checkpoints_with_remote_code(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models["encoder"], tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "homemade",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForMaskedLM": "code.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('ran')")
    refused(folder, "code of its own")


def test_a_model_type_that_transformers_does_not_know_is_refused(
    tiny_models: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models["encoder"], tmp_path / "unknown")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "homemade", "architectures": None}))
    refused(folder, "cannot be loaded")


def test_damaged_or_foreign_weights_give_a_one_sentence_error(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    torn = shutil.copytree(tiny_models["encoder"], tmp_path / "torn")
    weights = torn / "model.safetensors"
    for content in (weights.read_bytes()[:1000], b""):
        weights.write_bytes(content)
        refused(torn, "damaged or incomplete")
    other = shutil.copytree(tiny_models["encoder"], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    refused(other, "other shapes than its config.json says")


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_folder_without_a_tokenizer_or_with_anothers_is_refused(
    kind: str, tiny_models: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_models[kind], tmp_path / "other")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = vocabulary | {f"w{i}": len(vocabulary) + i for i in range(9)}
    file.write_text(json.dumps(content))
    refused(folder, "do not belong together")
    for each in folder.glob("tokenizer*"):
        each.unlink()
    refused(folder, "holds no tokenizer")


def test_weights_without_a_language_model_head_are_refused(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models["encoder"], tmp_path / "headless")
    config = BertConfig.from_pretrained(folder)
    BertModel(config).save_pretrained(folder)
    refused(folder, "the weights lack")


def test_tokenizer_without_mask_is_refused_and_one_without_eos_where_it_is_needed() -> None:
    bert, gpt2 = random_models.bert(), random_models.gpt2()
    with pytest.raises(ModelError, match="no mask token"):
        wrap_model(bert.model, gpt2.tokenizer, "encoder", name="x")
    tokenizer = random_models.byte_level()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no eos token"):
        _ = wrap_model(gpt2.model, tokenizer, "decoder", name="x").substitute


def test_a_method_can_name_any_token_of_the_vocabulary_and_no_other() -> None:
    for loaded, unknown in ((random_models.bert(), "[UNK]"), (random_models.gpt2(), None)):
        assert loaded.tokenizer.convert_ids_to_tokens(loaded.token_id("s")) == "s"
        assert unknown is None or loaded.token_id(unknown) == loaded.tokenizer.unk_token_id
        with pytest.raises(ModelError, match=r"substitute=xyzzy: .* has no token of that name"):
            loaded.token_id("xyzzy")
    loaded = random_models.gpt2()
    loaded.tokenizer.add_tokens([f"<{number}>" for number in range(20)])  # more than the model has rows
    with pytest.raises(ModelError, match="substitute=<19>"):
        loaded.token_id("<19>")


def test_unknown_dtypes_and_absent_devices_are_refused(tiny_models: Mapping[str, Path]) -> None:
    with pytest.raises(ModelError, match="unknown dtype"):
        load_model(tiny_models["encoder"], dtype="float8")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="not available"):
            load_model(tiny_models["encoder"], device="cuda:0")


def test_load_model_refuses_chunked_feed_forward_and_names_the_setting() -> None:
    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        chunk_size_feed_forward=1,
    )
    with pytest.raises(ModelError, match=r"expected|chunk_size_feed_forward"):
        wrap_model(BertForMaskedLM(config), random_models.wordpiece(), "encoder", name="chunked")


def test_sites_whose_module_computes_more_than_its_weights_are_refused() -> None:
    model = families.build("bert")
    linear = model.get_submodule("bert.encoder.layer.1.output.dense")
    linear.register_forward_hook(lambda _m, _args, out: 2 * out)
    with pytest.raises(ModelError, match="more than its weights"):
        find_sites(model.eval(), torch.arange(7)[None])


def test_unknown_family_lists_its_linears_and_accepts_a_site_pattern() -> None:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.widen, self.shrink = torch.nn.Linear(8, 20), torch.nn.Linear(20, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shrink(self.widen(x).relu())

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(30, 8)
            self.blocks = torch.nn.ModuleList([Block(), Block()])

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            x = self.embed(input_ids)
            for block in self.blocks:
                x = block(x)
            return x

    with pytest.raises(ModelError, match=r"blocks\.0\.widen \(8 -> 20\)"):
        find_sites(Model(), torch.arange(7)[None])
    anatomy = find_sites(Model(), torch.arange(7)[None], r"\.shrink$")
    assert [site.width for site in anatomy.sites] == [20, 20]
    assert [site.feeders for site in anatomy.sites] == [("blocks.0.widen",), ("blocks.1.widen",)]


def test_one_module_called_once_a_layer_has_an_address_per_call() -> None:
    loaded = families.load("albert")
    assert len({site.module for site in loaded.sites}) == 1
    assert [site.call for site in loaded.sites] == [0, 1, 2]


def test_the_context_leaves_out_position_rows_kept_for_padding() -> None:
    assert families.load("roberta").context == 63
    assert families.load("bert").context == 64


def test_gates_are_found_by_what_feeds_the_neurons() -> None:
    gated = {
        name: families.load(name).sites[0].gated for name in ("llama", "phi3", "modernbert", "nemotron", "bert", "opt")
    }
    assert gated == {"llama": True, "phi3": True, "modernbert": True, "nemotron": False, "bert": False, "opt": False}


def test_pre_act_on_a_gated_model_is_refused_with_what_to_use() -> None:
    from knscope.analysis.engine.replay import Engine

    with pytest.raises(ModelError, match="post_act"):
        Engine(families.load("llama")).circuit_for(pre_act=True)


def test_half_precision_is_close_to_float32(tiny_models: Mapping[str, Path]) -> None:
    from knscope.analysis.engine.inspection import sample_query
    from knscope.analysis.engine.replay import Engine

    full, half = (
        Engine(load_model(tiny_models["decoder"])),
        Engine(load_model(tiny_models["decoder"], dtype="bfloat16")),
    )
    query = sample_query(full.loaded, 8, words=2)
    (one,), (two,) = full.predict([query]), half.predict([query])
    assert np.log(two.p) == pytest.approx(np.log(one.p), abs=0.5)


@pytest.fixture
def hub_cache(tiny_models: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub repository as the local cache keeps it: `main` and a tag, each a commit; and a socket that must not be used."""
    repository = tmp_path / "models--someone--tiny"
    for kind, commit, reference in (("encoder", "a" * 40, "main"), ("decoder", "b" * 40, "v2")):
        shutil.copytree(tiny_models[kind], repository / "snapshots" / commit)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / reference).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", connect)
    return repository


def test_a_hub_id_in_the_local_cache_is_loaded_from_there_at_its_revision(hub_cache: Path) -> None:
    for source, kind, commit in (
        ("someone/tiny", "encoder", "a" * 40),
        ("someone/tiny@v2", "decoder", "b" * 40),
        (f"someone/tiny@{'b' * 40}", "decoder", "b" * 40),
    ):
        loaded = load_model(source)
        identity = loaded.identity
        assert (loaded.kind, identity.name, identity.revision, identity.source) == (kind, "tiny", commit, source)
        assert sources.is_decoder(source) == (kind == "decoder")
        assert sources.weight_bytes(source) == (hub_cache / "snapshots" / commit / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model.safetensors.index.json", '{"weight_map": {"x": "weights.bin"}}', "names 'weights.bin' as weights"),
        ("adapter_config.json", "{}", "holds an adapter"),
    ],
)
def test_a_hub_id_whose_cached_files_name_other_weights_is_refused(
    hub_cache: Path, file: str, text: str, message: str
) -> None:
    (hub_cache / "snapshots" / ("a" * 40) / file).write_text(text)
    refused("someone/tiny", message)


def test_a_hub_id_that_is_neither_cached_nor_reachable_says_so(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source in ("someone/tiny@v3", "someone/else"):
        refused(source, "not in the local cache")
        assert sources.weight_bytes(source) is None


def test_source_with_an_at_sign_may_be_a_folder(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models["encoder"], tmp_path / "tiny@v2")
    assert load_model(folder).label.startswith("tiny@v2@")
    assert sources.split_revision(str(folder)) == (str(folder), None)
    assert sources.split_revision("org/name@v1.0") == ("org/name", "v1.0")


def test_a_model_over_several_devices_needs_them(tiny_models: Mapping[str, Path]) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="sees no CUDA device"):
            load_model(tiny_models["encoder"], device="cuda:0+cuda:1")
    with pytest.raises(ModelError, match="GPUs"):
        load_model(tiny_models["encoder"], device="cpu+cpu")


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_model_in_half_precision_is_read_too(kind, tiny_models):
    loaded = load_model(str(tiny_models[kind]), dtype="bfloat16", device="cpu", threads=1)
    assert len(loaded.sites) == 2
    assert loaded.n_neurons == 96


def test_loading_in_several_threads_keeps_weight_tying(tiny_models: Mapping[str, Path]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load_model, [tiny_models["encoder"], tiny_models["decoder"]] * 6))
    assert load_model(tiny_models["encoder"]).n_neurons == 96


def test_site_pattern_travels_in_the_source_and_makes_another_model(tiny_models: Mapping[str, Path]) -> None:
    """Whoever loads what a store names finds the same neurons."""
    plain = load_model(tiny_models["decoder"])
    source = sources.absolute_source(sources.with_site(str(tiny_models["decoder"]), r"mlp\.c_proj$"))
    named = load_model(source)
    assert named.identity.source == source and sources.split_site(source)[1] == r"mlp\.c_proj$"
    assert [site.module for site in named.sites] == [site.module for site in plain.sites]
    assert named.label != plain.label and load_model(named.identity.source).label == named.label
    assert sources.weight_bytes(source) == sources.weight_bytes(str(tiny_models["decoder"])) and sources.is_decoder(
        source
    )
    refused(sources.with_site(str(tiny_models["decoder"]), "nothing$"), "no second MLP linear found")
    with pytest.raises(ModelError, match="no regular expression"):
        sources.with_site("m", "(")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: (folder / "model.safetensors").rename(folder / "m.gguf"), "GGUF"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"), "knscope[sentencepiece]"),
        (lambda folder: quantised(folder), "quantised (bitsandbytes)"),
    ],
)
def test_folder_that_is_no_plain_model_is_told_what_it_is(
    tiny_models: Mapping[str, Path],
    tmp_path: Path,
    make: Callable[[Path], object],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(tiny_models["decoder"], tmp_path / "m")
    real = sources.importlib.util.find_spec
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: None if name == "sentencepiece" else real(name)
    )
    make(folder)
    refused(folder, said)


def quantised(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))


def test_folder_of_the_hubs_cache_is_named_by_its_id(tiny_models: Mapping[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "models--org--name"
    shutil.copytree(tiny_models["decoder"], place / "snapshots" / "abc")
    refused(place, "name the model org/name")
    assert load_model(place / "snapshots" / "abc").kind == "decoder"


def test_decoder_without_eos_works_with_methods_that_hide_no_word() -> None:
    made = families.load("gpt2")
    made.tokenizer.eos_token = None
    loaded = wrap_model(made.model, made.tokenizer, "decoder", name="bare")
    engine = Engine(loaded, remember=False)
    query = encode(loaded, Query("fr", "P36", "en", "the capital of [X] is [Y]", "France", "Paris"))
    (found,) = attribute(engine, [query], parse_method("bkn"))
    assert np.abs(found.scores).max() > 0
    with pytest.raises(ModelError, match="substitute=TOKEN"):
        next(attribute(engine, [query], parse_method("amig")))
    token = loaded.tokenizer.convert_ids_to_tokens(5)
    (named,) = attribute(engine, [query], parse_method(f"amig+substitute={token}"))
    assert np.abs(named.scores).max() > 0 and inspect(loaded)["substitute"] is None
