"""The floor: FastAPI with a pipeline behind a plain function, as most tutorials have it."""

from __future__ import annotations

import argparse
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI  # type: ignore[import-not-found]
from transformers import pipeline

from bench.runtime.inputs import NEW_TOKENS

TASKS = {
    "classification": "text-classification",
    "embeddings": "feature-extraction",
    "generation": "text-generation",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=TASKS)
    parser.add_argument("--model")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe: Any = pipeline(TASKS[options.workload], model=options.model, device=device)  # type: ignore[call-overload]
    app = FastAPI()

    @app.post("/")  # type: ignore[untyped-decorator]
    def answer(body: dict[str, Any]) -> Any:
        inputs = body["inputs"]
        texts = inputs if isinstance(inputs, list) else [inputs]
        if options.workload == "classification":
            return pipe(texts, top_k=None)
        if options.workload == "generation":
            return pipe(inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        # Alone, so that there is no padding in the mean.
        vectors = [torch.nn.functional.normalize(one[0].mean(0), dim=0) for one in pipe(texts, return_tensors=True)]
        return [vector.tolist() for vector in vectors]

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
