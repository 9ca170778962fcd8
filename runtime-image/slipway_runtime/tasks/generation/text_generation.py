"""text-generation: a text or a chat → what the model writes after it. Answers are Generated, see generated.py.

Inputs: a string, a list of strings, a chat {"messages", "tools", "tool_choice", "tool_prompt"}, or its messages alone.
A text gets 100 new tokens unless max_new_tokens says otherwise, as in text-generation-inference; a chat what the model
and the server allow, as in OpenAI's API. An answer also ends where the model's context does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoModelForCausalLM

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.chat import Chat, checked_chat, is_chat, render
from slipway_runtime.tasks.generation.engine import Engine
from slipway_runtime.tasks.generation.parameters import GenerationParameters, checked, grammar_of, samplings
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.tools import Calls, call_schema
from slipway_runtime.tasks.loading import TextModel, input_limit, load_text_model
from slipway_runtime.tasks.texts import texts_of

_NEW_TOKENS = 100
_UNBOUNDED = 2**20  # for models without a table of positions; the body's size bounds them before


Begun = tuple[str, list[int], Mapping[str, Any]]
"""The prompt's text, its ids, and what else the model needs beside them."""


class TextGeneration(Adapter):
    """The adapter."""

    task = "text-generation"
    parameters = GenerationParameters
    streams = True

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        self._tokenizer = text_model.tokenizer
        self._limits = limits
        self._context = context_of(text_model)
        self.max_input_tokens = min(self._context - 1, limits.max_input_tokens or self._context)
        self._vocabulary = int(text_model.config.get_text_config().vocab_size)
        self._engine = Engine(text_model, text_model.tokenizer.tokenizer, limits)

    @property
    def mode(self) -> str:
        """How answers are written: in continuous or static batches, or sequential."""
        return self._engine.mode

    @property
    def reuses(self) -> bool:
        """Whether prompts go on from earlier ones that begin the same."""
        return self._engine.reuses

    def differs_now(self) -> str:
        """See Engine."""
        return self._engine.differs_now()

    def parse(self, inputs: object, parameters: GenerationParameters) -> Call:
        p = checked(parameters, self._limits)
        if is_chat(inputs):
            chat = self.chat(inputs)
            if chat.must_call and p.grammar is not None:
                raise InvalidInput("parameters.grammar", "cannot be kept beside a tool that must be called")
            return Call(inputs=[chat], parameters=p, single=True)
        if isinstance(inputs, dict):
            raise InvalidInput("inputs", "must be a string, a list of strings, or a chat with messages")
        texts, single = texts_of(inputs, "inputs", self._limits)
        if len(texts) * p.sequences > self._limits.max_inputs:
            raise InvalidInput(
                "inputs",
                f"asks for {len(texts) * p.sequences} answers, at most {self._limits.max_inputs} are allowed; "
                "send several requests",
            )
        return Call(inputs=texts, parameters=p, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        p: GenerationParameters = call.parameters
        grammar = grammar_of(p.grammar, self._engine.grammars)
        return [item for i, entry in enumerate(call.inputs) for item in self._items(entry, p, grammar, call.field(i))]

    def postprocess(self, call: Call, outputs: list[Any]) -> list[list[Generated]]:
        p: GenerationParameters = call.parameters
        answers = [outputs[i : i + p.sequences] for i in range(0, len(outputs), p.sequences)]
        if p.n is None or p.n == p.sequences:
            return answers
        return [sorted(several, key=_likelihood, reverse=True)[: p.n] for several in answers]

    def warmup(self) -> list[Item]:
        p = GenerationParameters(max_new_tokens=2)
        return self._items("warm up", p, None, "inputs")

    def _items(self, entry: str | Chat, p: GenerationParameters, grammar: Any, field: str) -> list[Item]:
        calls = None
        if isinstance(entry, Chat):
            field = entry.field
            if entry.tools:
                calls = Calls(frozenset(tool["function"]["name"] for tool in entry.tools))
            if entry.must_call:
                grammar = self._engine.grammars.json(call_schema(entry.tools), "inputs.tools")
        text, ids, extra = self.begun(entry, field)
        ids = self._fitting(ids, p, field)
        new = p.max_new_tokens or (self._limits.max_new_tokens if isinstance(entry, Chat) else _NEW_TOKENS)
        new = self._remembered(ids, min(new, self._limits.max_new_tokens, self.room(ids)), p, field)
        return [
            self._engine.item(
                Prompt(
                    ids=ids,
                    text=text,
                    max_new_tokens=new,
                    sampling=sampling,
                    stop=p.stops,
                    top_n_tokens=p.top_n_tokens,
                    prefill=p.decoder_input_details,
                    calls=calls,
                    extra=extra,
                )
            )
            for sampling in samplings(p, grammar, self._vocabulary)
        ]

    def chat(self, inputs: Any) -> Chat:
        """The checked conversation. Raises InvalidInput."""
        return checked_chat(inputs, self._limits)

    def begun(self, entry: Any, field: str) -> Begun:  # noqa: ARG002 - for those whose inputs can be wrong here
        """What the model continues. Raises InvalidInput."""
        if isinstance(entry, Chat):
            text = render(entry, self._tokenizer.tokenizer)
            return text, self._tokenizer.ids(text, special_tokens=False, most=self._context), {}
        return entry, self._tokenizer.ids(entry, most=self._context), {}

    def room(self, ids: list[int]) -> int:
        """Most tokens that an answer to this prompt may have."""
        return self._context - len(ids)

    def _remembered(self, ids: list[int], new: int, p: GenerationParameters, field: str) -> int:
        """New tokens that have room in memory. Raises InvalidInput where there is none, or less than was asked for."""
        most = self._engine.most_tokens
        if most is None or len(ids) + new <= most:
            return new
        if len(ids) >= most:
            raise InvalidInput(
                field,
                f"has {len(ids)} tokens, this server has memory for {most} of a prompt with its answer; shorten it, or "
                "give the server more memory",
            )
        if p.max_new_tokens is not None:
            raise InvalidInput(
                "parameters.max_new_tokens",
                f"is {p.max_new_tokens} after a prompt of {len(ids)} tokens, this server has memory for {most} of both "
                f"together; ask for at most {most - len(ids)}, or give the server more memory",
            )
        return most - len(ids)

    def _fitting(self, ids: list[int], p: GenerationParameters, field: str) -> list[int]:
        """As `truncate` has it: the last so many. Raises InvalidInput where no room is left for an answer."""
        if p.truncate is not None:
            ids = ids[-p.truncate :]
        if not ids:
            raise InvalidInput(field, "has no tokens; give a text")
        most = self.max_input_tokens
        if len(ids) > most:
            raise InvalidInput(
                field,
                f"has {len(ids)} tokens, the model takes {most} and one of the answer; shorten it, or set truncate to "
                f"at most {most}",
            )
        return ids


def context_of(text_model: TextModel) -> int:
    """Most tokens of a prompt and its answer together."""
    return min(input_limit(text_model.config, text_model.tokenizer.tokenizer, 0), _UNBOUNDED)


def _likelihood(answer: Generated) -> float:
    return sum(token.logprob for token in answer.tokens) / max(1, len(answer.tokens))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForCausalLM, limits)
    adapter = TextGeneration(model, limits)
    return model.loaded(adapter, max_input_tokens=adapter.max_input_tokens)
