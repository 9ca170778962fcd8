// A conversation, streamed from /v1/chat/completions.
import { eventsOf } from "./api.js";
import { el } from "./dom.js";

export class Chat {
  constructor() {
    this.messages = [];
    this.node = el("div", { className: "chat", attributes: { role: "log", "aria-label": "Conversation" } });
  }

  clear() {
    this.messages = [];
    this.node.replaceChildren();
  }

  // Without a text: what was asked last, to show as a request.
  body(text, model, parameters) {
    const { max_new_tokens: most = 256, ...others } = parameters;
    const last = this.messages.at(-1)?.role === "assistant" ? this.messages.slice(0, -1) : this.messages;
    const messages = text.trim() === "" ? last : [...this.messages, { role: "user", content: text }];
    return { model, messages, max_tokens: most, ...others, stream: true };
  }

  async say(text, model, parameters, signal) {
    const body = this.body(text, model, parameters);
    this.node.append(el("div", { className: "turn user" }, text));
    const turn = el("div", { className: "turn busy" });
    this.node.append(turn);
    const before = this.messages;
    this.messages = body.messages;
    const started = performance.now();
    let first = null;
    try {
      for await (const part of eventsOf("v1/chat/completions", body, { signal })) {
        const piece = part.choices?.[0]?.delta?.content;
        if (!piece) continue;
        first ??= performance.now() - started;
        turn.append(piece);
        this.node.scrollTop = this.node.scrollHeight;
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        this.messages = before;
        turn.previousSibling.remove();
        turn.remove();
        throw error;
      }
    } finally {
      turn.classList.remove("busy");
    }
    this.messages = [...body.messages, { role: "assistant", content: turn.textContent }];
    return { first, milliseconds: performance.now() - started };
  }
}
