"""text-to-image by diffusers: a prompt → an image. Not a transformers task; an extra of the image.

Requests of equal settings are drawn together, each from a generator of its own seed: the answer to a seed does not
depend on what is drawn beside it.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import torch

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Media, Parameters
from slipway_runtime.tasks.multimodal.diffusion import SCHEDULERS, load_pipeline, scheduler_like
from slipway_runtime.tasks.texts import texts_of
from slipway_runtime.tasks.vision.images import png

MAX_PIXELS = 2048 * 2048  # far beyond what the models were made for; attention's memory grows with the square
MAX_STEPS = 150
Side = Annotated[int, msgspec.Meta(ge=8)]


class DrawingParameters(Parameters, frozen=True, kw_only=True):
    """As diffusers calls them; what is left out is the model's own default."""

    negative_prompt: str | None = None
    height: Side | None = None
    width: Side | None = None
    num_inference_steps: Annotated[int, msgspec.Meta(ge=1, le=MAX_STEPS)] | None = None
    guidance_scale: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    scheduler: str | None = None
    num_images_per_prompt: Literal[1] = 1
    truncate: bool = False


@dataclass(frozen=True)
class Drawing:
    """The forward of one choice of settings: items with equal ones share batches."""

    adapter: TextToImage
    height: int
    width: int
    steps: int | None
    guidance: float | None
    scheduler: str
    negative: bool

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        return self.adapter.draw(self, items)


@dataclass(frozen=True)
class _Prompt:
    text: str
    negative: str
    seed: int | None


class _NobodyWaits(Exception):
    """Every caller of a batch has gone."""


class TextToImage(Adapter):
    """The adapter."""

    task = "text-to-image"
    parameters = DrawingParameters

    def __init__(self, pipeline: Any, limits: Limits) -> None:
        self._pipeline = pipeline
        self._takes = inspect.signature(pipeline.__call__).parameters
        self._most_pixels = min(limits.max_image_pixels, MAX_PIXELS)
        denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
        scale = pipeline.vae_scale_factor
        self._side = (getattr(pipeline, "default_sample_size", None) or _longest(denoiser.config.sample_size)) * scale
        # Transformers cut the latent image into patches of 2 x 2.
        self._multiple = max(8, scale if getattr(pipeline, "unet", None) is not None else 2 * scale)
        kind = type(pipeline.scheduler)
        able = {kind.__name__, *(other.__name__ for other in pipeline.scheduler.compatibles)}
        self._schedulers = [name for name in SCHEDULERS if name in able]
        self._default = kind.__name__
        self._lock = threading.Lock()  # tokenizers switch their settings per call; the copies are this class's alone
        self._tokenizers = [(copy.deepcopy(tokenizer), limit) for tokenizer, limit in self._readers()]
        self.max_tokens = max((limit for _, limit in self._tokenizers), default=0)

    def parse(self, inputs: object, parameters: DrawingParameters) -> Call:
        if isinstance(inputs, list):
            raise InvalidInput("inputs", "must be a string: one prompt, since the answer is one image")
        texts, _ = texts_of(inputs, "inputs", Limits())
        p = parameters
        for name in ("height", "width"):
            side = getattr(p, name)
            if side is not None and side % self._multiple:
                raise InvalidInput(f"parameters.{name}", f"must be a multiple of {self._multiple}; got {side}")
        height, width = p.height or self._side, p.width or self._side
        if height * width > max(self._most_pixels, self._side**2):
            raise InvalidInput(
                "parameters.height" if p.width is None else "parameters.width",
                f"{width} x {height} are {width * height} pixels, at most {self._most_pixels} are drawn",
            )
        if p.scheduler is not None and p.scheduler not in self._schedulers:
            raise InvalidInput(
                "parameters.scheduler",
                f"{p.scheduler[:80]!r} does not fit this model; it takes {', '.join(self._schedulers) or 'its own'}",
            )
        # Flux has a negative prompt that works only with a scale of its own.
        if p.negative_prompt and ("negative_prompt" not in self._takes or "true_cfg_scale" in self._takes):
            raise InvalidInput("parameters.negative_prompt", "this model takes no negative prompt; leave it out")
        return Call(inputs=texts[0], parameters=p, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        p: DrawingParameters = call.parameters
        if not p.truncate:
            self._check_length(call.inputs, "inputs")
            self._check_length(p.negative_prompt or "", "parameters.negative_prompt")
        drawing = Drawing(
            adapter=self,
            height=p.height or self._side,
            width=p.width or self._side,
            steps=p.num_inference_steps,
            guidance=p.guidance_scale,
            scheduler=p.scheduler or self._default,
            negative=bool(p.negative_prompt),
        )
        length = max(1, drawing.height * drawing.width // 256)
        return [Item(drawing, length, _Prompt(call.inputs, p.negative_prompt or "", p.seed))]

    def draw(self, drawing: Drawing, items: Sequence[Item]) -> list[Any]:
        """(PIL image, whether the model's safety checker blanked it) per item."""
        pipeline, scheduler = self._pipeline, self._pipeline.scheduler
        prompts = [item.data for item in items]
        options: dict[str, Any] = {
            "prompt": [prompt.text for prompt in prompts],
            "height": drawing.height,
            "width": drawing.width,
            "generator": [_generator(prompt.seed) for prompt in prompts],
            "output_type": "pil",
        }
        if drawing.steps is not None:
            options["num_inference_steps"] = drawing.steps
        if drawing.guidance is not None:
            options["guidance_scale"] = drawing.guidance
        if drawing.negative:
            options["negative_prompt"] = [prompt.negative for prompt in prompts]
        if "clean_caption" in self._takes:
            options["clean_caption"] = False  # would need libraries that are not here, and says so only in a log
        if "use_resolution_binning" in self._takes:  # has tables for these sizes of latents alone
            options["use_resolution_binning"] = pipeline.transformer.config.sample_size in (32, 64, 128)
        options |= self._watch(items)
        # A scheduler holds the state of one drawing, so each has its own.
        pipeline.scheduler = scheduler_like(scheduler, drawing.scheduler)
        try:
            with torch.inference_mode():
                result = pipeline(**options)
        except _NobodyWaits:
            return [None] * len(items)
        finally:
            pipeline.scheduler = scheduler
        blanked = getattr(result, "nsfw_content_detected", None) or [False] * len(items)
        return list(zip(result.images, blanked, strict=True))

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:  # noqa: ARG002 - an adapter's shape
        image, blanked = outputs[0]
        if blanked:
            raise InvalidInput("inputs", "the model's safety checker withheld the image; change the prompt or the seed")
        return Media(png(image), "image/png")

    def warmup(self) -> list[Item]:
        parameters = DrawingParameters(num_inference_steps=2, seed=0)
        return self.preprocess(Call(inputs="warm up", parameters=parameters, single=True))

    def _watch(self, items: Sequence[Item]) -> dict[str, Any]:
        """Stops a drawing that nobody waits for; the callback's form is the pipeline's."""

        def check(*arguments: Any) -> Any:
            if all(item.listener.gone for item in items):
                raise _NobodyWaits
            return arguments[-1] if isinstance(arguments[-1], dict) else None

        if "callback_on_step_end" in self._takes:
            return {"callback_on_step_end": check}
        return {"callback": check, "callback_steps": 1} if "callback" in self._takes else {}

    def _readers(self) -> list[tuple[Any, int]]:
        """The tokenizers, each with how many tokens its encoder reads."""
        found = []
        for end in ("", "_2", "_3"):
            tokenizer = getattr(self._pipeline, f"tokenizer{end}", None)
            encoder = getattr(self._pipeline, f"text_encoder{end}", None)
            if tokenizer is None or encoder is None:
                continue
            limit = int(tokenizer.model_max_length)
            if not type(encoder).__name__.startswith("CLIP") and "max_sequence_length" in self._takes:
                limit = int(self._takes["max_sequence_length"].default)
            found.append((tokenizer, limit))
        return found

    def _check_length(self, text: str, field: str) -> None:
        """A text must fit into one of the encoders whole: of two, one reads what the other cuts."""
        with self._lock:
            lengths = [(len(tokenizer(text)["input_ids"]), limit) for tokenizer, limit in self._tokenizers]
        if lengths and all(length > limit for length, limit in lengths):
            length, limit = max(lengths, key=lambda pair: pair[1])
            raise InvalidInput(
                field, f"has {length} tokens, the model takes {limit}; shorten it, or set truncate to true"
            )


def _generator(seed: int | None) -> torch.Generator:
    """On the processor, so that a seed gives one image on every device."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _longest(size: Any) -> int:
    return int(size) if isinstance(size, int) else int(max(size))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the pipeline and its adapter. Raises ModelFault."""
    pipeline = load_pipeline(artifact)
    adapter = TextToImage(pipeline, limits)
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return Loaded(
        task=adapter.task,
        adapters={adapter.task: adapter},
        max_input_tokens=adapter.max_tokens,
        device=str(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
        parameters=sum(weight.numel() for module in modules for weight in module.parameters()),
    )
