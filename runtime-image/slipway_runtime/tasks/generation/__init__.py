"""Text, token by token: what every task shares whose model writes after a prompt.

    Prompt    (prompt.py)    ids, sampling, stop strings, most new tokens: all that one answer needs
    Engine    (engine.py)    `engine.item(prompt)` → Item; its forward gives one Generated per item and emits a Token
                             through item.listener for each step. Items of any settings share a batch
    gate.py                  which batches are right for a model, by a trial when it is loaded:
    ContinuousBatches (continuous.py, decoder.py, rows.py)   answers join and leave a running batch
    StaticBatches (static.py)                                padded batches that end together, or one by one
    Answers   (answers.py)   what both need of the model, and how much memory answers may take
    Sequence  (sequence.py)  one answer while it grows: takes tokens, ends at stop strings, gives text out
    Sampling, Chooser (sampling.py), Grammar (grammar.py), Detokenizer (detokenizer.py), StopStrings (stopping.py)
    GenerationParameters (parameters.py)   TGI's parameters and their ranges; `samplings` makes a Prompt's of them
    Chat      (chat.py, tools.py)          messages and tools → the model's own format; calls of tools in its output
    Beams, TextToText, Languages           (beams.py, text_to_text.py, languages.py)  whole answers of encoder-decoders

An adapter for another kind of input (images beside text) makes its own ids and gives what else the model needs in
`Prompt.extra`; such items run alone, all others together. Engine knows nothing of requests.
"""
