"""A model's sizes as its files give them, and a message for each that cannot be."""

import json
from pathlib import Path

import pytest
from cl_engine.config import read_config
from cl_engine.errors import BrokenCheckpoint
from cl_engine.loader import load_model

from tests.checkpoints import make_checkpoint, make_tokenizer

INT8 = {"quant_method": "compressed-tensors", "format": "int-quantized"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [  # params.json as published, and Hugging Face's config.json of the same model
        (
            {"dim": 4096, "n_layers": 32, "n_heads": 32, "ffn_dim_multiplier": 1.0},
            {"ffn": 11008, "kv_heads": 32, "vocab": 32016, "context": 16384},
        ),
        (
            {"dim": 5120, "n_layers": 40, "n_heads": 40, "vocab_size": -1},
            {"ffn": 13824, "kv_heads": 40, "vocab": 32016, "context": 16384},
        ),
        (
            {"dim": 8192, "n_layers": 48, "n_heads": 64, "n_kv_heads": 8, "vocab_size": 32000},
            {"ffn": 22016, "kv_heads": 8, "vocab": 32000, "context": 16384},
        ),
        (
            {"dim": 8192, "n_layers": 80, "n_heads": 64, "n_kv_heads": 8}
            | {"ffn_dim_multiplier": 1.3, "multiple_of": 4096, "rope_theta": 10000},
            {"ffn": 28672, "kv_heads": 8, "vocab": 32016, "context": 4096},
        ),
    ],
)
def test_metas_params_give_the_published_sizes(
    tmp_path: Path, params: dict[str, object], expected: dict[str, int]
) -> None:
    make_tokenizer(tmp_path / "tokenizer.model", 32016)
    (tmp_path / "params.json").write_text(
        json.dumps({"multiple_of": 256, "norm_eps": 1e-5, "rope_theta": 1000000} | params)
    )
    config = read_config(tmp_path)
    assert {key: getattr(config, key) for key in expected} == expected
    assert config.head_dim == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_theta": None}, "config.json: no rope_theta"),
        ({"rope_theta": "many"}, "rope_theta is 'many', not a positive number"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope type 'yarn'"),
        ({"model_type": "gpt2"}, "not 'llama'"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"num_key_value_heads": 3}, "do not share 3 evenly"),
        ({"vocab_size": 9000}, "vocab_size is 9000, the embedding has 8192 rows"),
        ({"intermediate_size": 97}, r"mlp.*_proj.weight is \[.*96.*\], not \[.*97.*\]"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantisation awq/None is not supp"),
        ({"quantization_config": INT8}, "tensor lm_head.weight_scale is missing"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    folder = make_checkpoint(tmp_path)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(BrokenCheckpoint, match=message):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_theta": None}, "params.json: no rope_theta"),
        ({"n_heads": 64, "n_kv_heads": 64}, "heads of odd size 1"),
        ({"vocab_size": 9000}, "vocab_size is 9000, the embedding has 8192 rows"),
        ({"ffn_dim_multiplier": "x"}, "ffn_dim_multiplier is 'x'"),
        ({"ffn_dim_multiplier": 2}, r"feed_forward.w1.weight is \[96, 64\], not"),
    ],
)
def test_wrong_params_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    folder = make_checkpoint(tmp_path, layout="meta")
    path = folder / "params.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(BrokenCheckpoint, match=message):
        load_model(str(folder), device="cpu")


def test_the_origin_is_kept_as_the_name(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    assert read_config(folder).name == ""
    path = folder / "config.json"
    origin = {"_name_or_path": "codellama/CodeLlama-7b-hf"}
    path.write_text(json.dumps(json.loads(path.read_text()) | origin))
    assert read_config(folder).name == "codellama/CodeLlama-7b-hf"
