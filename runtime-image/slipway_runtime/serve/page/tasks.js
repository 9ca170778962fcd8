// What each task takes and how its answer is drawn. A new task is an entry here; one without is asked with raw JSON.
import * as draw from "./answers.js";
import * as widget from "./inputs.js";
import { audio, image, samplePicture, sampleSound } from "./media.js";
import * as picture from "./picture.js";

const FILM = "The film was great, I love the story and every actor in it.";
const TOWER = "The Eiffel Tower stands in Paris. It is 324 metres tall and was built by the company of Gustave Eiffel from 1887 to 1889. For 41 years it was the tallest building in the world.";
const TABLE = { City: ["Paris", "London", "Berlin"], Country: ["France", "England", "Germany"], Inhabitants: ["2100000", "8800000", "3700000"] };

// inputs: name → widget; samples: name → value of a widget, `ready` for what a model card has.
const one = (label, make, sample, drawing, more = {}) => ({
  inputs: { inputs: () => make(label) }, samples: [{ inputs: sample }], draw: drawing, body: (v) => ({ inputs: v.inputs }), ...more,
});
const prompt = (label, sample, drawing, more) => one(label, widget.text, sample, drawing, more);
const seen = (drawing, more) => one("Image", image, samplePicture, drawing, more);
const heard = (drawing, more) => one("Sound", audio, sampleSound, drawing, more);
const together = (inputs, sample, drawing) => ({ inputs, samples: [sample], draw: drawing, body: (v) => ({ inputs: v }) });
const labelled = (base, sample) => ({
  ...base,
  inputs: { ...base.inputs, candidate_labels: widget.labels },
  samples: [{ ...base.samples[0], candidate_labels: sample }],
  body: (v) => ({ inputs: v.inputs, parameters: { candidate_labels: v.candidate_labels } }),
});
const asked = (drawing, question) => together(
  { image: () => image("Image"), question: () => widget.text("Question", { rows: 2 }) }, { image: samplePicture, question }, drawing);

export const TASKS = {
  "text-classification": prompt("Text", FILM, draw.labelBars),
  "token-classification": prompt("Text", "My name is Sarah and I live in London.", draw.entities, { parameters: { aggregation_strategy: "simple" } }),
  "feature-extraction": prompt("Text", FILM, draw.vector),
  "sentence-similarity": together(
    { source_sentence: () => widget.text("Sentence", { rows: 2 }), sentences: () => widget.lines("Compare it with") },
    { source_sentence: "A man is eating food.", sentences: ["A man eats something.", "A woman plays the violin.", "It rains."] }, draw.similarities),
  "text-ranking": together(
    { query: () => widget.text("Query", { rows: 2 }), texts: () => widget.lines("Texts to rank") },
    { query: "How tall is the Eiffel Tower?", texts: ["The tower is 324 metres tall.", "Paris is in France.", "It rains."] }, draw.similarities),
  "fill-mask": prompt("Text with a mask", "Paris is the [MASK] of France.", draw.filled),
  "question-answering": together(
    { question: () => widget.text("Question", { rows: 2 }), context: () => widget.text("Context", { rows: 6 }) },
    { question: "How tall is the Eiffel Tower?", context: TOWER }, draw.answerInContext),
  "table-question-answering": together(
    { query: () => widget.text("Question", { rows: 2 }), table: () => widget.table("Table") },
    { query: "How many inhabitants does London have?", table: TABLE }, draw.cells),
  "zero-shot-classification": labelled(prompt("Text", "I have a problem with my phone that needs to be solved soon.", draw.labelBars), "urgent, not urgent, phone, computer"),
  "text-generation": prompt("Prompt", "The capital of France is", draw.words, { streams: true, parameters: { max_new_tokens: 100 } }),
  "text2text-generation": prompt("Text", "translate English to German: The house is wonderful.", draw.words),
  summarization: prompt("Text", TOWER, draw.words),
  translation: prompt("Text", "The house is wonderful.", draw.words),
  "automatic-speech-recognition": heard(draw.transcript),
  "audio-classification": heard(draw.labelBars),
  "text-to-speech": prompt("Text", "Hello, it is nice to meet you.", draw.sound),
  "image-classification": seen(draw.labelBars),
  "zero-shot-image-classification": labelled(seen(draw.labelBars), "house, cat, car"),
  "object-detection": seen(picture.boxes),
  "zero-shot-object-detection": labelled(seen(picture.boxes), "house, sun"),
  "image-segmentation": seen(picture.masks),
  "mask-generation": seen(picture.masks),
  "depth-estimation": seen(picture.image),
  "image-to-text": seen(draw.words),
  "image-text-to-text": {
    ...together({ image: () => image("Image"), text: () => widget.text("Text", { rows: 2 }) }, { image: samplePicture, text: "What is in this image?" }, draw.words),
    body: (v) => ({ inputs: { images: [v.image], text: v.text }, parameters: { return_full_text: false } }),
    parameters: { max_new_tokens: 100 },
  },
  "visual-question-answering": asked((value) => draw.bars(value, "answer"), "What colour is the house?"),
  "document-question-answering": asked((value) => draw.bars(value, "answer"), "What is the total?"),
  "text-to-image": prompt("Prompt", "A red house on a green hill, oil painting", picture.image),
};

export const UNKNOWN = {
  inputs: { inputs: () => widget.text("inputs, as JSON", { rows: 6 }) },
  samples: [{ inputs: '"a text"' }],
  body: (v) => ({ inputs: JSON.parse(v.inputs) }),
  draw: () => [],
};

// A model card's widget example → values of this task's widgets; null where it has none for it.
export function fromCard(task, example) {
  const sample = typeof example === "string" ? { text: example } : { ...example };
  if (sample.text !== undefined) {
    const main = ["query", "question", "inputs"].find((name) => name in task.inputs);
    if (main) sample[main] ??= sample.text;
  }
  const values = Object.fromEntries(Object.keys(task.inputs).filter((name) => sample[name] !== undefined).map((name) => [name, sample[name]]));
  return Object.keys(values).length === Object.keys(task.inputs).length ? values : null;
}
