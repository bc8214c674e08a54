"""The shape of the demo checkpoint, its tokenizer, and its files in the hub naming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imp_deploy.demo import scenes

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
TOKENS = 464
ROWS = 512  # like Phi-2's table, a few rows more than there are tokens
HIDDEN, LAYERS, HEADS, INNER, ROTARY = 256, 6, 8, 512, 16
TOWER_LAYERS = 4  # those that are used; the config claims one more, as the real one does


def phi_config() -> dict[str, Any]:
    return {
        "vocab_size": ROWS,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": ROTARY / (HIDDEN // HEADS),
        },
        "max_position_embeddings": 2048,
        "hidden_act": "gelu_pytorch_tanh",  # gelu_new in one kernel
        "layer_norm_eps": 1e-5,
    }


def vision_config() -> dict[str, Any]:
    return {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": TOWER_LAYERS,
        "num_attention_heads": 4,
        "image_size": 384,
        "patch_size": 14,
        "layer_norm_eps": 1e-6,
    }


def hub_config() -> dict[str, Any]:
    """`config.json` as the hub checkpoints have it: the keys of the old Phi."""
    vision = {**vision_config(), "num_hidden_layers": TOWER_LAYERS + 1}
    return {
        "model_type": "imp",
        "architectures": ["ImpForCausalLM"],
        "vocab_size": ROWS,
        "n_embd": HIDDEN,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_head_kv": None,
        "n_inner": INNER,
        "rotary_dim": ROTARY,
        "n_positions": 2048,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "image_aspect_ratio": "square",
        "image_token": "<image>",
        "image_token_index": TOKENS - 1,
        "mm_hidden_size": vision["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "vision_tower_config": {"model_type": "siglip_vision_model", **vision},
    }


def corpus() -> list[str]:
    """What the tokenizer is trained on: the prompts and answers of the task."""
    lines = [SYSTEM, "USER: ", " ASSISTANT:"] * 50
    for index in range(400):
        scene = scenes.scene_at("train", index)
        for question in scenes.questions(scene) + scenes.place_questions(scene):
            lines.append(f"\n{question.text} ASSISTANT: {question.answer}")
    return lines


def train_tokenizer() -> Tokenizer:
    """Byte-level BPE of the CodeGen kind: `TOKENS` tokens, runs of spaces as added tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    spaces = [" " * n for n in range(8, 1, -1)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS - len(spaces) - 2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(s, normalized=True) for s in spaces])
    tokenizer.add_special_tokens([AddedToken("<pad>"), AddedToken("<image>")])
    return tokenizer


def hub_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The training script's tensors under the names of the hub checkpoints."""
    import torch

    tower = "transformer.vision_tower.vision_tower.vision_model"
    named: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        room, rest = name.split(".", 1)
        if room in ("embeddings", "encoder"):
            named[f"{tower}.{name}"] = tensor
        elif room == "projector":
            named[f"transformer.mm_projector.{rest}"] = tensor
    llm = {k.removeprefix("llm."): v for k, v in state.items() if k.startswith("llm.")}
    named["transformer.embd.wte.weight"] = llm["model.embed_tokens.weight"]
    for part in ("weight", "bias"):
        named[f"lm_head.ln.{part}"] = llm[f"model.final_layernorm.{part}"]
        named[f"lm_head.linear.{part}"] = llm[f"lm_head.{part}"]
        for i in range(LAYERS):
            old, new = f"model.layers.{i}", f"transformer.h.{i}"
            named[f"{new}.ln.{part}"] = llm[f"{old}.input_layernorm.{part}"]
            qkv = [llm[f"{old}.self_attn.{x}_proj.{part}"] for x in "qkv"]
            named[f"{new}.mixer.Wqkv.{part}"] = torch.cat(qkv)
            named[f"{new}.mixer.out_proj.{part}"] = llm[f"{old}.self_attn.dense.{part}"]
            named[f"{new}.mlp.fc1.{part}"] = llm[f"{old}.mlp.fc1.{part}"]
            named[f"{new}.mlp.fc2.{part}"] = llm[f"{old}.mlp.fc2.{part}"]
    return named


def write_checkpoint(out: Path, tokenizer: Tokenizer, state: dict[str, torch.Tensor]) -> None:
    """Writes config, tokenizer and F16 weights into `out`."""
    import torch
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    named = {k: v.to(torch.float16).contiguous() for k, v in hub_names(state).items()}
    save_file(named, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(hub_config(), indent=1) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CodeGenTokenizer",
                "add_prefix_space": False,
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "pad_token": "<pad>",
                "unk_token": "<|endoftext|>",
                "model_max_length": 2048,
            },
            indent=1,
        )
        + "\n"
    )
    (out / "generation_config.json").write_text(
        json.dumps({"eos_token_id": tokenizer.token_to_id("<|endoftext|>")}) + "\n"
    )
