"""LitServe with its own batching: up to 32 requests (16 where text is written), or what came within 10 ms."""

from __future__ import annotations

import argparse
from typing import Any

import litserve  # type: ignore[import-not-found]
import torch
import transformers

from bench.runtime.inputs import NEW_TOKENS

CLASSES = {
    "classification": "AutoModelForSequenceClassification",
    "embeddings": "AutoModel",
    "generation": "AutoModelForCausalLM",
}


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Tokenizer and model: the pipeline, where it batches, returns padding among the vectors."""

    workload = ""
    model_folder = ""

    def setup(self, device: str) -> None:
        left = self.workload == "generation"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            self.model_folder, padding_side="left" if left else "right"
        )
        auto = getattr(transformers, CLASSES[self.workload])
        self.model = auto.from_pretrained(self.model_folder).eval().to(device)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # a type would make it FastAPI's parameter
        inputs = request["inputs"]
        return inputs if isinstance(inputs, list) else [inputs]

    def predict(self, batch: list[list[str]]) -> list[Any]:
        texts = [text for one in batch for text in one]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            outputs = getattr(self, f"_{self.workload}")(tokens)
        rest = iter(outputs)
        return [[next(rest) for _ in one] for one in batch]

    def encode_response(self, output: Any) -> Any:
        return output

    def _classification(self, tokens: Any) -> list[Any]:
        names = self.model.config.id2label
        scores = self.model(**tokens).logits.softmax(-1).tolist()
        return [[{"label": names[i], "score": score} for i, score in enumerate(row)] for row in scores]

    def _embeddings(self, tokens: Any) -> list[Any]:
        hidden, mask = self.model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors: list[Any] = torch.nn.functional.normalize(pooled, dim=-1).tolist()
        return vectors

    def _generation(self, tokens: Any) -> list[Any]:
        made = self.model.generate(**tokens, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts = self.tokenizer.batch_decode(made[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
        return [{"generated_text": text} for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=CLASSES)
    parser.add_argument("--model")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    api = Api(max_batch_size=16 if options.workload == "generation" else 32, batch_timeout=0.01)
    api.workload, api.model_folder = options.workload, options.model  # of the instance, which goes to the worker
    server = litserve.LitServer(api, accelerator="auto", timeout=60)
    server.run(host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
