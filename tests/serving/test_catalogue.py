"""The published models' facts, and what checkpoints at hand are taken for."""

import doctest
from pathlib import Path

import cl_engine.catalogue
import cl_engine.download
import pytest
from cl_engine.catalogue import (
    CAPABILITIES,
    PUBLISHED,
    Capability,
    Identity,
    Published,
    identify,
    lookup,
)
from cl_engine.errors import Unsupported

SHAPES = {"7B": (32, 4096), "13B": (40, 5120), "34B": (48, 8192), "70B": (80, 8192)}
CACHE = "/home/u/.cache/huggingface/hub/models--{}--{}/snapshots/" + "0" * 40


def known(*names: str, size: str | None = None, pieces: bool = True) -> Identity:
    layers, dim = SHAPES.get(size or "", (2, 64))
    return identify(names, layers=layers, dim=dim, can_infill=pieces)


def can(identity: Identity) -> str:
    """Its capabilities by their first letters, in order: "cip" is completion, infilling, python."""
    return "".join({"chat": "h"}.get(c, c[0]) for c in CAPABILITIES if c in identity.capabilities)


def test_examples_in_docstrings() -> None:
    for module in (cl_engine.catalogue, cl_engine.download):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("size", "parameters", "kv_bytes"),
    [  # parameters as in the checkpoints' index files; KV bytes from reference §1.6
        ("7B", 6_738_546_688, 524_288),
        ("13B", 13_016_028_160, 819_200),
        ("34B", 33_743_970_304, 196_608),
        ("70B", 68_976_910_336, 327_680),
    ],
)
def test_sizes(size: str, parameters: int, kv_bytes: int) -> None:
    models = [model for model in PUBLISHED if model.size == size]
    assert [model.variant for model in models] == ["base", "python", "instruct"]
    assert models[0].parameters == parameters
    assert models[0].weight_bytes == 2 * parameters
    assert {model.kv_bytes_per_token for model in models} == {kv_bytes}


def test_the_table_of_the_reference() -> None:
    facts = {
        model.alias: (model.vocab, model.context, model.rope_theta, len(model.capabilities))
        for model in PUBLISHED
    }
    long, short = (16384, 1e6), (4096, 1e4)
    assert facts == {
        "7b": (32016, *long, 2),
        "7b-python": (32000, *long, 2),
        "7b-instruct": (32016, *long, 3),
        "13b": (32016, *long, 2),
        "13b-python": (32000, *long, 2),
        "13b-instruct": (32016, *long, 3),
        "34b": (32000, *long, 1),
        "34b-python": (32000, *long, 2),
        "34b-instruct": (32000, *long, 2),
        "70b": (32016, *long, 2),
        "70b-python": (32016, *short, 2),
        "70b-instruct": (32016, *short, 2),
    }


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.alias)
def test_every_published_model_is_known_by_each_of_its_names(model: Published) -> None:
    pieces = model.vocab == 32016
    for names in (
        [model.hub_id, CACHE.format("codellama", model.name)],
        [model.gated_id + "@main", CACHE.format("meta-llama", model.name)],
        [model.alias, CACHE.format("codellama", model.name)],
        ["/models/" + model.name.removesuffix("-hf") + "/"],  # Meta's directories
        ["some-copy", "/data/some-copy", model.hub_id],  # only config.json knows
        [model.name.upper()],
        [model.name.lower().replace("-hf", "").replace("codellama-", "codellama_")],
    ):
        identity = known(*names, size=model.size, pieces=pieces)
        assert (identity.variant, identity.label) == (model.variant, model.label), names
        assert identity.capabilities == model.capabilities
    assert lookup(model.alias) is lookup(model.gated_id) is lookup(model.name.lower()) is model


def test_names_that_only_look_alike_say_nothing() -> None:
    for name in (
        "CodeLlama-7b-my-chat",
        "CodeLlama-7b-Instruct-hf-tuned",
        "my-CodeLlama-7b-Instruct-hf",
        "Phind-CodeLlama-34B-v2",
        "codellama",
        "Llama-2-7b-chat-hf",
        "instruct",
    ):
        identity = known(f"/models/{name}")
        assert identity.variant is None and identity.label == name, name
        assert can(identity) == "ci" and can(known(name, pieces=False)) == "c"


def test_a_fine_tune_hides_what_it_was_made_from() -> None:
    tune = known("/models/CodeLlama-7b-my-chat", "codellama/CodeLlama-7b-Instruct-hf")
    assert tune.variant is None and can(tune) == "ci"
    assert known("/models/CodeLlama-7b-hf/checkpoint-500").variant == "base"


@pytest.mark.parametrize(
    ("names", "size", "pieces", "expected"),
    [
        (["CodeLlama-7b-hf"], None, True, "ci"),  # a small checkpoint so named
        (["CodeLlama-34b-hf"], None, True, "c"),
        (["CodeLlama-34b-Instruct-hf"], None, True, "ch"),
        (["CodeLlama-7b-hf"], "34B", True, "c"),  # the config knows better than the name
        (["CodeLlama-7b-Python-hf"], "7B", True, "cp"),
        (["CodeLlama-7b-Instruct-hf"], "7B", False, "ch"),  # no pieces, no infilling
        (["my-model"], "34B", True, "c"),
        (["my-model"], "70B", True, "ci"),
        (["embedded"], None, True, "ci"),
        ([], None, True, "ci"),
    ],
)
def test_what_a_checkpoint_can(
    names: list[str], size: str | None, pieces: bool, expected: str
) -> None:
    assert can(known(*names, size=size, pieces=pieces)) == expected


@pytest.mark.parametrize(
    ("identity", "capability", "reason", "able"),
    [
        (
            known("CodeLlama-34b-Instruct-hf", size="34B", pieces=False),
            "infilling",
            "Code Llama 34B Instruct cannot do infilling: the 34B models were not trained",
            "7b 7b-instruct 13b 13b-instruct 70b",
        ),
        (
            known("CodeLlama-7b-Python-hf"),
            "infilling",
            "the Python models were not trained to fill in",
            "7b 7b-instruct 13b 13b-instruct 70b",
        ),
        (known("codellama-70b-instruct"), "infilling", "of the 70B models only the base", "70b"),
        (known("my-model", pieces=False), "infilling", "lacks the infilling tokens ▁<PRE>", "7b"),
        (
            known("CodeLlama-7b-hf"),
            "chat",
            "Code Llama 7B cannot do chat: it is not an Instruct model",
            "7b-instruct 13b-instruct 34b-instruct 70b-instruct",
        ),
        (
            known("my-model"),
            "chat",
            'my-model cannot do chat: .*"capability": "chat" says so',
            "7b-instruct",
        ),
        (
            known("CodeLlama-13b-Instruct-hf"),
            "python",
            "it is not a Python model",
            "7b-python 13b-python 34b-python 70b-python",
        ),
        (known("embedded"), "chat", "embedded cannot do chat", "7b-instruct"),
    ],
)
def test_a_refusal_says_why_and_who_can(
    identity: Identity, capability: Capability, reason: str, able: str
) -> None:
    with pytest.raises(Unsupported, match=reason) as refused:
        identity.require(capability)
    assert identity.refusal(capability) == str(refused.value)
    can_do = [model for alias in able.split() if (model := lookup(alias))]
    assert can_do and all(model.hub_id in str(refused.value) for model in can_do)
    unable = [model for model in PUBLISHED if capability not in model.capabilities]
    assert not any(f"{model.hub_id}," in f"{refused.value}," for model in unable)
    for allowed in identity.capabilities:
        identity.require(allowed)


def test_a_template_adds_what_no_fact_contradicts() -> None:
    mine = known("/models/my-model", pieces=False)
    assert can(mine.with_template("chat")) == "ch" and can(mine.with_template("python")) == "cp"
    assert can(mine.with_template("completion")) == can(mine) == "c"
    instruct = known("CodeLlama-7b-Instruct-hf")
    assert instruct.with_template("chat") == instruct
    contradicted: list[tuple[Identity, Capability]] = [
        (mine, "infilling"),
        (known("my-model", size="34B"), "infilling"),
        (known("CodeLlama-7b-Python-hf"), "infilling"),
        (known("CodeLlama-7b-hf"), "chat"),
        (known("CodeLlama-7b-Python-hf"), "chat"),
        (known("CodeLlama-7b-hf"), "python"),
        (known("embedded"), "chat"),
    ]
    for identity, capability in contradicted:
        with pytest.raises(Unsupported):
            identity.with_template(capability)


def test_only_the_word_embedded_is_the_embedded_model() -> None:
    folder = Path("/home/u/embedded")
    assert known("embedded", str(folder)).label == "embedded"
    assert known(str(folder)).with_template("chat").capabilities >= {"chat"}
