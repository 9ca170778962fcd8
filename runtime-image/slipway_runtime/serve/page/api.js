// Calls to this server. The token lives in this variable and nowhere else.
let token = "";

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function useToken(value) {
  token = value.trim();
}

export const hasToken = () => token !== "";

export async function call(path, body, { signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const started = performance.now();
  const options = { method: body === undefined ? "GET" : "POST", headers, signal, cache: "no-store" };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server cannot be reached", 0);
  }
  if (!response.ok) throw new Refused(await reason(response), response.status);
  return { response, started };
}

export async function answerOf(path, body, options) {
  const { response, started } = await call(path, body, options);
  const type = (response.headers.get("content-type") || "").split(";")[0];
  const value = type === "application/json" ? await response.json() : await response.blob();
  return { value, milliseconds: performance.now() - started };
}

// Server-sent events, one parsed JSON object each; ends at [DONE] or with the connection.
export async function* eventsOf(path, body, options) {
  const { response } = await call(path, body, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += (value || "").replaceAll("\r", "");
    const events = rest.split("\n\n");
    rest = done ? "" : events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new Refused(textOf(parsed.error), 500);
      yield parsed;
    }
    if (done) return;
  }
}

async function reason(response) {
  const text = await response.text();
  try {
    return textOf(JSON.parse(text).error) || `HTTP ${response.status}`;
  } catch {
    return `HTTP ${response.status}`;
  }
}

const textOf = (error) => (typeof error === "string" ? error : error?.message);
