// Answers as people expect to see them. Each takes (value, sent) and returns nodes.
import { el, HUES, percent } from "./dom.js";

export function bars(rows, name = "label") {
  const best = Math.max(...rows.map((row) => Math.abs(row.score)), 1e-9);
  const scale = rows.every((row) => row.score >= 0 && row.score <= 1) ? 1 : best;
  return [el("ol", { className: "bars" }, ...rows.map((row) => {
    const fill = el("i");
    fill.style.width = `${Math.min(100, (100 * Math.abs(row.score)) / scale)}%`;
    return el("li", { className: "bar" }, fill, el("span", {}, String(row[name])), el("b", {}, percent(row.score)));
  }))];
}

export const labelBars = (value) => bars(Array.isArray(value[0]) ? value[0] : asRows(value));

// {labels, scores} is how older clients want zero-shot answers.
const asRows = (value) => (Array.isArray(value) ? value : value.labels.map((label, i) => ({ label, score: value.scores[i] })));

export function filled(value) {
  const groups = Array.isArray(value[0]) ? value : [value];
  return groups.flatMap((rows) => [...bars(rows, "token_str"), el("p", { className: "quiet" }, rows[0]?.sequence ?? "")]);
}

export function similarities(value, sent) {
  const names = sent.inputs.sentences ?? sent.inputs.texts ?? [];
  const rows = value.map((score, i) => (typeof score === "number" ? { label: names[i], score } : ranked(score, names)));
  return bars(rows.sort((a, b) => b.score - a.score));
}

const ranked = (row, names) => ({ label: row.text ?? names[row.index ?? row.corpus_id], score: row.score });

// Parts of a text, by offsets in characters (code points, as Python counts them).
export function spans(text, entities) {
  const letters = [...text];
  const names = [...new Set(entities.map((entity) => kind(entity)))];
  const parts = [];
  let end = 0;
  for (const entity of [...entities].sort((a, b) => a.start - b.start)) {
    if (entity.start < end) continue;
    parts.push(letters.slice(end, entity.start).join(""));
    const hue = `hue${names.indexOf(kind(entity)) % 6}`;
    const title = entity.score === undefined ? "" : percent(entity.score);
    parts.push(el("mark", { className: hue, title }, letters.slice(entity.start, entity.end).join(""), kind(entity) ? el("small", {}, kind(entity)) : null));
    end = entity.end;
  }
  parts.push(letters.slice(end).join(""));
  return [el("p", { className: "spans" }, ...parts)];
}

const kind = (entity) => entity.entity_group ?? entity.entity ?? "";

export function entities(value, sent) {
  const legend = value.map((e) => ({ label: `${e.word}: ${kind(e)}`, score: e.score }));
  return [...spans(sent.inputs, value), ...(legend.length ? bars(legend) : [el("p", { className: "quiet" }, "No entities found.")])];
}

export function answerInContext(value, sent) {
  const best = Array.isArray(value) ? value[0] : value;
  if (!best?.answer) return [el("p", { className: "quiet" }, "No answer found in this text.")];
  return [...bars([{ label: best.answer, score: best.score }]), ...spans(sent.inputs.context, [best])];
}

export function cells(value, sent) {
  const best = Array.isArray(value) ? value[0] : value;
  const hits = new Set((best.coordinates ?? []).map(([row, column]) => `${row},${column}`));
  const names = Object.keys(sent.inputs.table);
  const rows = Array.from({ length: sent.inputs.table[names[0]].length }, (_, r) => r);
  const head = el("tr", {}, ...names.map((name) => el("th", { className: "plain" }, name)));
  const body = rows.map((r) => el("tr", {}, ...names.map((name, c) =>
    el("td", { className: hits.has(`${r},${c}`) ? "plain hit" : "plain" }, String(sent.inputs.table[name][r])))));
  return [el("p", { className: "text" }, best.answer || "No answer found in this table."), el("div", { className: "scroll" }, el("table", {}, head, ...body))];
}

export function words(value) {
  const row = Array.isArray(value) ? value[0] : value;
  const all = Array.isArray(row) ? row : [row];
  return all.map((entry) => el("p", { className: "text" }, typeof entry === "string" ? entry : String(Object.values(entry)[0])));
}

export function transcript(value) {
  const clock = (s) => (s === null || s === undefined ? "" : s.toFixed(1));
  const chunks = (value.chunks ?? []).map((chunk) =>
    el("li", { className: "bar" }, el("span", {}, chunk.text), el("b", {}, `${clock(chunk.timestamp[0])}–${clock(chunk.timestamp[1])} s`)));
  return [el("p", { className: "text" }, value.text.trim() || "(silence)"), ...(chunks.length ? [el("ol", { className: "bars" }, ...chunks)] : [])];
}

export function vector(value) {
  const rows = Array.isArray(value[0]) ? value : [value];
  const first = rows[0];
  const most = Math.max(...first.map(Math.abs), 1e-9);
  const strip = el("div", { className: "strip", attributes: { role: "img", "aria-label": "the values as colours: blue above zero, orange below" } }, ...first.slice(0, 512).map((x) => {
    const cell = el("i", { title: x.toPrecision(4) });
    cell.style.background = x >= 0 ? HUES[2] : HUES[5];
    cell.style.opacity = String(0.08 + 0.92 * Math.abs(x / most));
    return cell;
  }));
  const what = rows.length > 1 ? `${rows.length} vectors, one per token, of ${first.length} numbers; the first:` : `A vector of ${first.length} numbers:`;
  return [el("p", {}, what), strip, el("p", { className: "mono quiet" }, `[${first.slice(0, 8).map((x) => x.toFixed(4)).join(", ")}${first.length > 8 ? ", …" : ""}]`)];
}

export function sound(blob) {
  return [el("audio", { controls: true, src: URL.createObjectURL(blob), attributes: { "aria-label": "the answer" } })];
}
