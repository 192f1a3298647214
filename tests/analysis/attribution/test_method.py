"""Labels of methods."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knscope.analysis.attribution.method import _CHOICES, PRESETS, MethodConfig, parse_method
from knscope.analysis.errors import ModelError

CONFIGS = st.builds(
    MethodConfig,
    **{name: st.sampled_from(values) for name, values in _CHOICES.items() if name not in ("kind", "positions")},
    kind=st.sampled_from([kind for kind in _CHOICES["kind"] if kind != "logprob_increase"]),  # refuses site=pre_act
    nodes=st.integers(2, 100),
    tolerance=st.floats(1e-9, 0.1),
    seed=st.integers(0, 5),
    substitute=st.sampled_from(["", "<|endoftext|>", "Ġthe", "a=b+c"]),
)


@given(CONFIGS)
def test_every_configuration_round_trips_through_its_label(config: MethodConfig) -> None:
    assert parse_method(config.label) == config


@given(CONFIGS, CONFIGS)
def test_two_configurations_share_a_label_only_when_equal(one: MethodConfig, other: MethodConfig) -> None:
    assert (one.label == other.label) == (one == other)


def test_presets_are_their_own_labels() -> None:
    for name, config in PRESETS.items():
        assert config.label == name
        assert parse_method(name) == config


def test_options_are_sorted_and_written_against_the_nearest_preset() -> None:
    assert parse_method("amig+nodes=10,last_word=drop").label == "amig+last_word=drop,nodes=10"
    assert parse_method("bkn+baseline=per_word,rule=gauss-lobatto,nodes=5").label == "amig"
    assert parse_method("amig+tolerance=2e-2").label == "amig+tolerance=0.02"


@pytest.mark.parametrize(
    "text",
    [
        "amgi",
        "amig+rule=simpson",
        "amig+nodes=x",
        "amig+nodes=0",
        "amig+nodes=1",
        "amig+tolerance=x",
        "amig+substitute=of the",
        "amig+substitute=\x1b[31m",
        "amig+tolerance=0",
        "amig+tolerance=nan",
        "amig+tolerance=0.2",
        "amig+speed=1",
        "amig+rule",
        "activation+positions=all",
    ],
)
def test_parse_method_names_the_wrong_part(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_method(text)
    assert any(part in str(caught.value) for part in text.replace("+", "=").split("="))


def test_docs_list_every_method_option_with_the_values_of_amig_first() -> None:
    page = (Path(__file__).parents[3] / "docs" / "method.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    for option in fields(MethodConfig):
        if option.name in _CHOICES:
            assert re.findall("`(.+?)`", rows[option.name]) == list(_CHOICES[option.name])
        assert rows[option.name].replace("`", "").startswith(str(getattr(PRESETS["amig"], option.name)))


def test_importing_methods_and_prompts_loads_no_torch() -> None:
    code = "import sys, knscope.analysis.attribution.method, knscope.analysis.prompts.encode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
