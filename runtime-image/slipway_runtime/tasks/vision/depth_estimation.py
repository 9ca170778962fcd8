"""depth-estimation: an image → {depth, predicted_depth}, the two fields of transformers' pipeline, as JSON.

As the Hub's own servers answer, rather than with bare image bytes: a picture has 256 shades and no scale, so the
numbers come with it. `depth` is a PNG (base64, greyscale, of the image's size, dark to light from the least to the
greatest number); `predicted_depth` holds the numbers, [rows][columns], at the model's own resolution and not at the
image's, whose rows may be megabytes of interpolated digits. Near is light for models of disparity (DPT, Depth
Anything), dark for those of metres (GLPN, Depth Pro).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import AutoModelForDepthEstimation

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Limits, Loaded, Parameters
from slipway_runtime.tasks.vision.image_adapter import ImageAdapter, Prediction
from slipway_runtime.tasks.vision.images import load_image_model, png_base64


class DepthEstimationParameters(Parameters, frozen=True, kw_only=True):
    """None."""


class DepthEstimation(ImageAdapter):
    """The adapter."""

    task = "depth-estimation"
    parameters = DepthEstimationParameters
    outputs = ("predicted_depth", "field_of_view")

    def answer(self, prediction: Prediction, parameters: DepthEstimationParameters) -> Any:  # noqa: ARG002 - has none
        # Positional: ZoeDepth calls these source_sizes, the others target_sizes.
        [made] = self._model.processor.post_process_depth_estimation(
            prediction.output, [(prediction.height, prediction.width)]
        )
        depth = made["predicted_depth"].numpy()
        if depth.size == prediction.height * prediction.width:  # sides of 1 have been squeezed away
            depth = depth.reshape(prediction.height, prediction.width)
        span = depth.max() - depth.min()
        shades = (depth - depth.min()) / span * 255 if span > 0 else np.zeros_like(depth)
        return {
            "predicted_depth": np.ascontiguousarray(prediction.output.predicted_depth[0].numpy()),
            "depth": png_base64(shades.astype(np.uint8)),
        }


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Load the model and its adapter. Raises ModelFault."""
    model = load_image_model(artifact, AutoModelForDepthEstimation)
    return model.loaded(DepthEstimation(model, limits))
