"""Classifiers whose weights are quantised: by compressed-tensors, as llm-compressor writes them, and in transformers'
own blocks of fp8."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.support import models

WIDE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256}
_BLOCK = 128


def compressed(folder: Path, kind: str = "int8") -> Path:
    """`kind`: int8 or fp8; one scale per row of each layer but the head."""
    import transformers
    from compressed_tensors.compressors import ModelCompressor  # type: ignore[import-untyped]
    from compressed_tensors.quantization import (  # type: ignore[import-untyped]
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    plain = models.classifier(folder / "plain", **WIDE)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(plain).eval()
    weights = QuantizationArgs(num_bits=8, type="int" if kind == "int8" else "float", strategy="channel")
    config = QuantizationConfig(
        config_groups={"all": QuantizationScheme(targets=["Linear"], weights=weights)},
        ignore=["classifier"],
        format="int-quantized" if kind == "int8" else "float-quantized",
        quantization_status="compressed",
    )
    apply_quantization_config(model, config)
    most = 127 if kind == "int8" else 448
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax(1, keepdim=True) / most
            if hasattr(module, "weight_zero_point"):
                module.weight_zero_point.data.zero_()
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))
    _tokenizer(plain, folder)
    return folder


def fine_grained_fp8(folder: Path) -> Path:
    """Weights in float8 with a scale per block of 128 x 128, as DeepSeek's checkpoints have them."""
    import torch
    from safetensors.torch import load_file, save_file

    plain = models.classifier(folder / "plain", **WIDE)
    tensors = load_file(plain / "model.safetensors")
    for name in [n for n in tensors if n.startswith("bert.encoder") and n.endswith("weight") and tensors[n].dim() == 2]:
        rows, columns = (size // _BLOCK for size in tensors[name].shape)
        blocks = tensors[name].reshape(rows, _BLOCK, columns, _BLOCK)
        scale = blocks.abs().amax((1, 3), keepdim=True) / 448
        tensors[name] = (blocks / scale).reshape(tensors[name].shape).to(torch.float8_e4m3fn)
        tensors[name.replace("weight", "weight_scale_inv")] = scale.reshape(rows, columns)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((plain / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [_BLOCK, _BLOCK],
        "modules_to_not_convert": ["classifier", "pooler"],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    _tokenizer(plain, folder)
    return folder


def unpacked(folder: Path) -> Any:
    """The network that a checkpoint of `compressed` means: each weight times its scale."""
    import torch
    import transformers
    from safetensors.torch import load_file

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder.parent / f"{folder.name}-plain")
    found = load_file(folder / "model.safetensors")
    for name, module in model.named_modules():
        scale = found.get(f"{name}.weight_scale")
        if scale is None:
            continue
        if f"{name}.weight_packed" in found:
            rows, columns = found[f"{name}.weight_shape"].tolist()
            packed = found[f"{name}.weight_packed"].view(torch.uint8)[:, :columns]
            weight = packed.to(torch.float32) - 128
            assert weight.shape == (rows, columns)
        else:
            weight = found[f"{name}.weight"].to(torch.float32)
        module.weight.data = weight * scale
    return model.eval()


def _tokenizer(plain: Path, folder: Path) -> None:
    for path in plain.glob("tokenizer*"):
        shutil.copy(path, folder)
    shutil.move(plain, folder.parent / f"{folder.name}-plain")
