// Answers on images: boxes, masks, depth, and images themselves.
import { el, HUES, percent } from "./dom.js";

function loaded(source) {
  return new Promise((resolve, reject) => {
    const image = el("img", { alt: "" });
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("the image cannot be shown"));
    image.src = source;
  });
}

async function canvasOver(sent) {
  const image = await loaded(URL.createObjectURL(sent.file));
  image.alt = "the image that was sent, with the answer drawn on it";
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  return { canvas, context: canvas.getContext("2d"), node: el("div", { className: "picture" }, image, canvas) };
}

function legend(rows) {
  return el("ul", { className: "legend" }, ...rows.map((row, i) => {
    const dot = el("span", { className: "dot" });
    dot.style.background = HUES[i % HUES.length];
    return el("li", {}, dot, row.label ?? `mask ${i + 1}`, row.score === null || row.score === undefined ? null : el("b", {}, percent(row.score)));
  }));
}

export async function boxes(value, sent) {
  if (!value.length) return [el("p", { className: "quiet" }, "Nothing found; a lower threshold finds more.")];
  const { canvas, context: c, node } = await canvasOver(sent);
  const size = Math.max(12, canvas.width / 32);
  c.lineWidth = Math.max(2, canvas.width / 200);
  c.font = `600 ${size}px system-ui, sans-serif`;
  value.forEach((found, i) => {
    const { xmin, ymin, xmax, ymax } = found.box;
    c.strokeStyle = c.fillStyle = HUES[i % HUES.length];
    c.strokeRect(xmin, ymin, xmax - xmin, ymax - ymin);
    const top = Math.max(0, ymin - size * 1.3);
    c.fillRect(xmin, top, c.measureText(found.label).width + size * 0.6, size * 1.3);
    c.fillStyle = "#fff";
    c.fillText(found.label, xmin + size * 0.3, top + size);
  });
  return [node, legend(value)];
}

export async function masks(value, sent) {
  const rows = Array.isArray(value) ? value : value.masks.map((mask, i) => ({ mask, score: value.scores?.[i] }));
  if (!rows.length) return [el("p", { className: "quiet" }, "Nothing found; a lower threshold finds more.")];
  const { canvas, context, node } = await canvasOver(sent);
  for (const [i, row] of rows.entries()) {
    const mask = await loaded(`data:image/png;base64,${row.mask}`);
    const layer = el("canvas", { width: canvas.width, height: canvas.height }).getContext("2d");
    layer.drawImage(mask, 0, 0, canvas.width, canvas.height);
    const pixels = layer.getImageData(0, 0, canvas.width, canvas.height);
    const hue = HUES[i % HUES.length];
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hue.slice(at, at + 2), 16));
    for (let p = 0; p < pixels.data.length; p += 4) pixels.data.set([r, g, b, pixels.data[p] > 127 ? 140 : 0], p);
    layer.putImageData(pixels, 0, 0);
    context.drawImage(layer.canvas, 0, 0);
  }
  return [node, legend(rows)];
}

export async function image(value) {
  const shown = await loaded(value instanceof Blob ? URL.createObjectURL(value) : `data:image/png;base64,${value.depth ?? value}`);
  shown.alt = "the model's answer";
  return [el("div", { className: "picture" }, shown)];
}
