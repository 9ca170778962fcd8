"""Load a diffusers pipeline, component by component. Never reaches for the network.

diffusers' own loading only logs weights that are missing and goes on with random ones; here each component says what it
lacks. artifacts/diffusion.py has already refused anything but diffusers' and transformers' own classes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.diffusion import components
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.precision import dtype_of

# An extra of the image.
diffusers: Any = importlib.import_module("diffusers") if importlib.util.find_spec("diffusers") else None

# Schedulers that a request may name; a model takes those of its own kind among them.
SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler", "LCMScheduler", "PNDMScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}  # the old name in repositories of 2022
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


def load_pipeline(artifact: Artifact) -> Any:
    """The pipeline on its device, silent. In the type that precision.py finds, or the denoiser's. Raises ModelFault."""
    source = artifact.id
    if diffusers is None:
        raise ModelFault(
            "TaskNotSupported",
            f"{source} is a diffusers pipeline, and this image was built without the extra diffusers: use the image "
            "that has it",
            "task",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype_of(artifact, device) or _own_type(artifact.folder)
    parts = {
        name: _component(artifact, name, library, kind, dtype)
        for name, (library, kind) in components(artifact.config).items()
    }
    try:
        pipeline = getattr(diffusers, artifact.config["_class_name"]).from_pretrained(
            str(artifact.folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, **parts
        )
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelFault(
            "ModelCorrupt",
            f"{source}: its parts ({', '.join(parts)}) do not make a {artifact.config['_class_name']}",
            "model",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def scheduler_like(scheduler: Any, name: str) -> Any:
    """A new scheduler of the class `name` with the configuration of `scheduler`."""
    return getattr(diffusers, name).from_config(scheduler.config)


def _component(artifact: Artifact, name: str, library: str, kind: str, dtype: torch.dtype) -> Any:
    module = {"diffusers": diffusers, "transformers": transformers}.get(library) or diffusers.pipelines.stable_diffusion
    found: Any = getattr(module, _RENAMED.get(kind, kind), None)
    allowed = (diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel,
               transformers.PreTrainedTokenizerBase, transformers.BaseImageProcessor)  # fmt: skip
    if not isinstance(found, type) or not issubclass(found, allowed):
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: its {name} is a {kind}, which this image's {library} does not have",
            "model",
        )
    options: dict[str, Any] = {"local_files_only": True}
    if issubclass(found, torch.nn.Module):
        options |= {"use_safetensors": True, "output_loading_info": True}
        options["dtype" if issubclass(found, transformers.PreTrainedModel) else "torch_dtype"] = dtype
    try:
        loaded = found.from_pretrained(str(artifact.folder / name), **options)
    except Exception as error:  # theirs are of many types, and quote paths
        raise ModelFault(
            "ModelCorrupt", f"{artifact.id}: its {name} cannot be loaded as {kind} ({type(error).__name__})", "model"
        ) from error
    if not isinstance(loaded, tuple):
        return loaded
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelFault(
            "ModelCorrupt",
            f"{artifact.id}: the safetensors of its {name} lack {len(missing)} weights of {kind}, first "
            f"{', '.join(missing[:3])}",
            "model",
        )
    return model.eval()


def _own_type(folder: Path) -> torch.dtype:
    """What the denoiser is stored in."""
    for name in ("transformer", "unet"):
        for path in sorted((folder / name).glob("*.safetensors")):
            with safe_open(path, framework="pt") as weights:
                return _TYPES.get(weights.get_slice(next(iter(weights.keys()))).get_dtype(), torch.float32)
    return torch.float32
