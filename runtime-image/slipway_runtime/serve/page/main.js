// The page: what is served, the task's widget, the request in three languages, the answer.
import { answerOf, call, eventsOf, hasToken, Refused, useToken } from "./api.js";
import { Chat } from "./chat.js";
import { byId, el } from "./dom.js";
import { LANGUAGES } from "./snippets.js";
import { fromCard, TASKS, UNKNOWN } from "./tasks.js";

const state = { model: null, task: "", definition: null, widgets: {}, chat: null, running: null, language: "curl" };

async function start() {
  try {
    state.model = await (await call("page/model.json")).response.json();
  } catch (error) {
    if (error.status === 401) return askForToken();
    showLoading(error.message, true);
    return setTimeout(start, 3000);
  }
  const { model } = state;
  byId("endpoint").textContent = model.endpoint || model.model;
  byId("model").textContent = [model.endpoint ? model.model : "", model.revision?.slice(0, 10), model.device].filter(Boolean).join(" · ");
  document.title = `${model.endpoint || model.model} · Slipway`;
  showStage(model.stage);
  if (!model.task) {
    showLoading(model.fault || "The model is being loaded; this page waits for it.", Boolean(model.fault));
    return setTimeout(start, 1500);
  }
  byId("loading").hidden = true;
  chooseTasks();
  show(model.task);
}

function showStage(stage) {
  const kind = { Ready: "good", Failed: "bad" }[stage] ?? "wait";
  byId("stage").className = `pill ${kind}`;
  byId("stage").textContent = stage;
}

function showLoading(message, bad) {
  byId("loading").textContent = message;
  byId("loading").classList.toggle("bad", bad);
  byId("loading").hidden = false;
}

function askForToken() {
  byId("token-form").hidden = false;
  byId("token").focus();
}

function chooseTasks() {
  const { tasks } = state.model;
  const select = byId("task");
  select.replaceChildren(...tasks.map(({ name }) => el("option", { value: name }, name)));
  byId("task-choice").hidden = tasks.length < 2;
  byId("task-name").hidden = tasks.length > 1;
  byId("task-name").textContent = state.model.task;
}

function show(task) {
  const known = TASKS[task] ?? UNKNOWN;
  Object.assign(state, { task, definition: known, chat: task === "text-generation" && state.model.chat ? new Chat() : null });
  state.widgets = Object.fromEntries(Object.entries(known.inputs).map(([name, make]) => [name, make()]));
  if (state.chat) {
    state.widgets.inputs.node.querySelector("label").textContent = "Message";
    state.widgets.inputs.node.querySelector("textarea").rows = 2;
  }
  byId("keys").textContent = state.chat ? "Enter" : "Ctrl + Enter";
  byId("inputs").replaceChildren(...Object.values(state.widgets).map((widget) => widget.node));
  byId("parameters").value = JSON.stringify(known.parameters ?? {});
  const { parameters } = state.model.tasks.find(({ name }) => name === task);
  byId("parameter-names").textContent = parameters.length ? `As JSON. This task takes: ${parameters.join(", ")}` : "This task takes none.";
  byId("answer").replaceChildren(state.chat ? state.chat.node : el("p", { className: "quiet" }, "Send something to see the model's answer."));
  byId("latency").textContent = "";
  byId("raw").hidden = true;
  showSamples(known);
  byId("work").hidden = byId("request").hidden = false;
  refresh();
}

function showSamples(known) {
  const own = (state.model.samples ?? []).map((sample) => ({ title: sample.example_title, values: fromCard(known, sample) })).filter(({ values }) => values);
  const samples = own.length ? own : known.samples.map((values) => ({ values: masked(values) }));
  const fill = async (values) => {
    for (const [name, value] of Object.entries(values)) state.widgets[name].set(typeof value === "function" ? await value() : value);
    refresh();
  };
  byId("samples").hidden = false;
  byId("samples").replaceChildren(
    el("span", { className: "quiet" }, own.length ? "From the model card:" : "Example:"),
    ...samples.slice(0, 6).map(({ title, values }, i) =>
      el("button", { type: "button", className: "small", on: { click: () => fill(values) } }, title || (own.length ? `Example ${i + 1}` : "Try it"))),
    ...(state.chat ? [el("button", { type: "button", className: "small", on: { click: () => (state.chat.clear(), refresh()) } }, "New chat")] : []));
  if (!Object.values(state.widgets).some((widget) => widget.isMedia)) fill(samples[0].values);
}

// A model's own word for the mask.
function masked(values) {
  const mask = state.model.mask_token;
  if (state.task !== "fill-mask" || !mask) return values;
  return { inputs: values.inputs.replace("[MASK]", mask) };
}

function parameters() {
  const text = byId("parameters").value.trim();
  if (!text) return {};
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("Parameters: not valid JSON");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error('Parameters: write an object, {"name": value}');
  return value;
}

function bodyOf(values, given) {
  const { parameters: own, ...rest } = state.definition.body(values);
  const all = { ...own, ...given };
  return Object.keys(all).length ? { ...rest, parameters: all } : rest;
}

const path = () => (state.chat ? "v1/chat/completions" : state.task === state.model.task ? "./" : `pipeline/${state.task}`);
const modelName = () => state.model.endpoint || state.model.model;

function refresh() {
  let request;
  try {
    const values = Object.fromEntries(Object.entries(state.widgets).map(([name, widget]) => [name, widget.shown()]));
    const media = Object.keys(state.widgets).filter((name) => state.widgets[name].isMedia);
    const file = media.map((name) => state.widgets[name].file()?.name)[0] ?? (state.task.includes("audio") || state.task.includes("speech") ? "sound.wav" : "picture.jpg");
    const body = state.chat ? state.chat.body(values.inputs, modelName(), parameters()) : bodyOf(values, parameters());
    const root = new URL("./", location.href).href.replace(/\/$/, "");
    const url = new URL(path(), location.href).href.replace(/\/$/, "");
    const binary = ["text-to-speech", "text-to-image"].includes(state.task);
    request = { task: state.task, main: state.task === state.model.task, root, url, body, values, media, file, secret: hasToken(), chat: Boolean(state.chat), binary };
    byId("snippet").textContent = LANGUAGES[state.language](request);
  } catch (error) {
    byId("snippet").textContent = error.message;
  }
}

async function send() {
  if (state.running) return;
  const answer = byId("answer");
  const controller = new AbortController();
  busy(controller);
  try {
    const values = {};
    for (const [name, widget] of Object.entries(state.widgets)) values[name] = await widget.get();
    answer.querySelector(".error")?.remove();
    if (state.chat) await converse(values.inputs, controller.signal);
    else await ask(values, controller.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) askForToken();
    const box = el("p", { className: "error", attributes: { role: "alert" } }, error.message);
    if (state.chat) answer.append(box);
    else answer.replaceChildren(box);
    byId("raw").hidden = true;
    byId("latency").textContent = error instanceof Refused && error.status ? `HTTP ${error.status}` : "";
  } finally {
    busy(null);
    refresh();
    if (state.chat) state.widgets.inputs.node.querySelector("textarea").focus({ preventScroll: true });
  }
}

function busy(controller) {
  state.running = controller;
  byId("send").disabled = controller !== null;
  byId("send").textContent = controller ? "Sending …" : "Send";
  byId("stop").hidden = controller === null;
}

async function converse(text, signal) {
  const given = parameters();
  const talk = state.chat.say(text, modelName(), given, signal);
  state.widgets.inputs.set("");
  try {
    const { first, milliseconds } = await talk;
    byId("latency").textContent = first === null ? timeOf(milliseconds) : `${timeOf(milliseconds)}, first word after ${timeOf(first)}`;
  } catch (error) {
    state.widgets.inputs.set(text);
    throw error;
  }
}

async function ask(values, signal) {
  const body = bodyOf(values, parameters());
  const media = Object.values(state.widgets).find((widget) => widget.isMedia);
  const sent = { ...body, file: media?.file() };
  if (state.definition.streams) return stream(body, signal);
  const { value, milliseconds } = await answerOf(path(), body, { signal });
  byId("latency").textContent = timeOf(milliseconds);
  byId("answer").replaceChildren(...(await state.definition.draw(value, sent)));
  byId("raw").hidden = value instanceof Blob;
  if (!(value instanceof Blob)) byId("json").textContent = shortened(value);
  if (state.definition === UNKNOWN) byId("raw").open = true;
}

async function stream(body, signal) {
  const text = el("p", { className: "text" }, el("span", { className: "quiet" }, body.inputs));
  byId("answer").replaceChildren(text);
  const started = performance.now();
  let last = {};
  for await (const event of eventsOf(path(), { ...body, stream: true }, { signal })) {
    last = event;
    if (event.token && !event.token.special) text.append(event.token.text);
  }
  byId("latency").textContent = timeOf(performance.now() - started);
  byId("raw").hidden = false;
  byId("json").textContent = shortened(last);
}

const timeOf = (milliseconds) => (milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`);

// Long base64 and long vectors would make the page slow and say nothing.
function shortened(value) {
  const text = JSON.stringify(value, (_, v) => (typeof v === "string" && v.length > 2000 ? `${v.slice(0, 60)}… (${v.length} characters)` : v), 2);
  return text.length > 40000 ? `${text.slice(0, 40000)}\n…` : text;
}

function languages() {
  const tabs = Object.keys(LANGUAGES).map((name) => el("button", { type: "button", on: { click: () => choose(name) },
    attributes: { role: "tab", "aria-controls": "snippet" } }, name));
  const choose = (name, focus = false) => {
    state.language = name;
    for (const tab of tabs) {
      const own = tab.textContent === name;
      tab.setAttribute("aria-selected", String(own));
      tab.tabIndex = own ? 0 : -1;
      if (own && focus) tab.focus();
    }
    if (state.model?.task) refresh();
  };
  byId("languages").replaceChildren(...tabs);
  byId("languages").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex((tab) => tab.textContent === state.language);
    choose(tabs[(at + step + tabs.length) % tabs.length].textContent, true);
  });
  choose("curl");
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey || (state.chat && !event.shiftKey && event.target.matches("#inputs textarea")))) {
    event.preventDefault();
    send();
  }
});
byId("form").addEventListener("input", refresh);
byId("stop").addEventListener("click", () => state.running?.abort());
byId("task").addEventListener("change", (event) => show(event.target.value));
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(byId("snippet").textContent);
  byId("copy").textContent = "Copied";
  setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value);
  byId("token").value = "";
  byId("token-form").hidden = true;
  if (state.model?.task) refresh();
  else start();
});
languages();
start();
