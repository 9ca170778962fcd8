// The widgets. Each: {node, get(), set(value), shown()}; `shown` is what a snippet stands for instead of megabytes.
import { el, field } from "./dom.js";

export function text(label, { rows = 4, placeholder = "" } = {}) {
  const area = el("textarea", { rows, placeholder, spellcheck: true });
  const get = () => {
    if (!area.value.trim()) throw new Error(`${label} is empty`);
    return area.value;
  };
  return { node: field(label, area), get, set: (value) => (area.value = value), shown: () => area.value };
}

export function lines(label, rows = 4) {
  const area = el("textarea", { rows });
  const all = () => area.value.split("\n").map((line) => line.trim()).filter(Boolean);
  const get = () => {
    if (!all().length) throw new Error(`${label}: write at least one`);
    return all();
  };
  return { node: field(`${label}, one per line`, area), get, set: (value) => (area.value = value.join("\n")), shown: all };
}

export function labels() {
  const input = el("input", { type: "text", placeholder: "egg, milk, juice" });
  const all = () => input.value.split(",").map((label) => label.trim()).filter(Boolean);
  const get = () => {
    if (!all().length) throw new Error("Labels: write at least one");
    return all();
  };
  const set = (value) => (input.value = Array.isArray(value) ? value.join(", ") : value);
  return { node: field("Labels, with commas between", input), get, set, shown: all };
}

export function table(label) {
  const grid = el("table");
  let cells = [["", ""], ["", ""]];
  const draw = () => {
    grid.replaceChildren(...cells.map((row, r) => el("tr", {}, ...row.map((cell, c) => {
      const name = r ? `row ${r}, column ${c + 1}` : `name of column ${c + 1}`;
      const on = { input: (event) => (cells[r][c] = event.target.value) };
      const input = el("input", { type: "text", value: cell, on, attributes: { "aria-label": name } });
      return el(r ? "td" : "th", {}, input);
    }))));
    grid.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const button = (name, action) => el("button", { type: "button", className: "small", on: { click: () => (action(), draw()) } }, name);
  const buttons = el("div", { className: "line" },
    button("Add row", () => cells.push(cells[0].map(() => ""))),
    button("Add column", () => cells.forEach((row) => row.push(""))),
    button("Remove row", () => cells.length > 2 && cells.pop()),
    button("Remove column", () => cells[0].length > 1 && cells.forEach((row) => row.pop())));
  const shown = () => Object.fromEntries(cells[0].map((name, c) => [name, cells.slice(1).map((row) => row[c])]));
  const set = (value) => {
    const names = Object.keys(value);
    const count = Math.max(1, ...names.map((name) => value[name].length));
    cells = [names, ...Array.from({ length: count }, (_, r) => names.map((name) => String(value[name][r] ?? "")))];
    draw();
  };
  draw();
  const node = el("div", { className: "field" }, el("span", { className: "label" }, label), el("div", { className: "scroll" }, grid), buttons);
  return { node, get: shown, set, shown };
}
