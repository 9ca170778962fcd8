// Elements from text alone: nothing that a model or a card wrote is ever read as HTML.
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "attributes") for (const [key, v] of Object.entries(value)) node.setAttribute(key, v);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

let count = 0;
export function field(label, control) {
  control.id ||= `field-${(count += 1)}`;
  return el("div", { className: "field" }, el("label", { htmlFor: control.id }, label), control);
}

export const HUES = ["#e0a100", "#2e9e5b", "#2f7de1", "#d6417f", "#7c4fe0", "#e2661b", "#0c9aa6", "#8b8f00"];

export function percent(score) {
  return score >= 0 && score <= 1 ? `${(100 * score).toFixed(1)} %` : Number(score).toPrecision(4);
}
