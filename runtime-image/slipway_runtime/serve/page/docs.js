// The OpenAPI document, to read: routes by format, their bodies, answers and errors.
import { call, useToken } from "./api.js";
import { byId, el } from "./dom.js";

let named = {};

const nameOf = (schema) => schema.$ref?.split("/").pop();
const opened = (schema) => (schema.$ref ? named[nameOf(schema)] ?? {} : schema);

function kind(schema) {
  const name = nameOf(schema);
  if (name) return name;
  const any = schema.anyOf ?? schema.oneOf;
  if (any) return [...new Set(any.map(kind))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  const limits = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"]];
  const bounds = limits.filter(([key]) => key in schema).map(([key, sign]) => ` ${sign} ${schema[key]}`).join(",");
  return `${[schema.type ?? "any"].flat().join(" or ")}${schema.contentEncoding ? " (base64)" : ""}${bounds}`;
}

// Fields of an object, those of objects inside it below, as deep as people read.
function fields(schema, depth = 0) {
  const shape = opened(schema);
  const inner = shape.properties ? [shape] : (shape.anyOf ?? []).map(opened).filter((one) => one.properties);
  if (shape.items) return fields(shape.items, depth);
  if (!inner.length && shape.anyOf) return shape.anyOf.map((one) => fields(one, depth)).find((found) => found) ?? null;
  if (!inner.length || depth > 3) return null;
  return el("ul", { className: "fields" }, ...inner.flatMap((one) => Object.entries(one.properties).map(([name, value]) => {
    const text = [kind(value), one.required?.includes(name) ? "required" : "", value.default !== undefined && value.default !== null ? `default ${JSON.stringify(value.default)}` : "", value.description ?? ""];
    return el("li", {}, el("code", {}, name), el("span", { className: "quiet" }, ` ${text.filter(Boolean).join(" · ")}`), fields(value, depth + 1));
  })));
}

function body(title, content) {
  return Object.entries(content ?? {}).flatMap(([media, { schema }]) => [
    el("h3", {}, `${title}, ${media}`), fields(schema) ?? el("p", { className: "quiet" }, kind(schema))]);
}

function operation(method, path, what) {
  const parts = (what.parameters ?? []).map((one) => el("li", {}, el("code", {}, one.name), el("span", { className: "quiet" }, ` ${kind(one.schema)}`)));
  const codes = Object.entries(what.responses).map(([status, one]) => el("li", {}, el("code", {}, status), el("span", { className: "quiet" }, ` ${one.description}`)));
  return el("details", { className: "operation" },
    el("summary", {}, el("b", { className: `method ${method}` }, method.toUpperCase()), el("code", {}, path), el("span", { className: "quiet" }, what.summary)),
    ...(parts.length ? [el("h3", {}, "Path"), el("ul", { className: "fields" }, ...parts)] : []),
    ...body("Request", what.requestBody?.content), ...body("Answer", what.responses["200"]?.content),
    el("h3", {}, "Statuses"), el("ul", { className: "fields" }, ...codes));
}

async function start() {
  const contents = await (await call("openapi.json")).response.json();
  named = contents.components.schemas;
  byId("title").textContent = contents.info.title;
  byId("about").textContent = `${contents.info.description} ${contents.info.version}`;
  const groups = new Map();
  for (const [path, methods] of Object.entries(contents.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const [tag] = what.tags;
      groups.set(tag, [...(groups.get(tag) ?? []), operation(method, path, what)]);
    }
  }
  byId("groups").replaceChildren(...[...groups].map(([tag, operations]) =>
    el("section", { className: "card" }, el("h2", {}, tag), ...operations)));
}

function failed(error) {
  byId("groups").replaceChildren(el("p", { className: "error" }, error.message));
  byId("token-form").hidden = error.status !== 401;
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value);
  byId("token").value = "";
  byId("token-form").hidden = true;
  start().catch(failed);
});
start().catch(failed);
