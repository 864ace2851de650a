// Shows what arrives on the WebSocket: one line for each message, the newest with the whole text below it.

const MESSAGES_SHOWN = 50;
const CHARACTERS_SHOWN = 4_000;

/** How many of our own requests are remembered until their messages arrive. */
const REQUESTS_MAX = 100;

const TOKENS = /("(?:[^"\\]|\\.)*")(:|,)?|-?\d[\d.eE+-]*|true|false|null/g;

export class Messages {
  #items = document.getElementById("messages");
  #silence = document.getElementById("silence");
  #heard = document.getElementById("heard");
  /** Request ids of this window, each with the time at which it asked. */
  #asked = new Map();

  /** Makes an id for a request, by which its message is recognised. */
  expectOne() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.#asked.set(id, performance.now());
    if (this.#asked.size > REQUESTS_MAX) this.#asked.delete(this.#asked.keys().next().value);
    return id;
  }

  /** Shows a message and returns what is in it. */
  show(text) {
    const message = parse(text);
    const event = message.meta?.eventName ?? "text";
    const what = message.object?.title ?? message.object?.id ?? text.slice(0, 80);
    const source = this.#source(message.meta?.requestId);
    const name = made("span", "event", event);
    name.dataset.event = event;
    const summary = made("summary", "", name, made("span", "what", String(what)), made("span", "source", source));
    const details = made("details", "", summary, whole(message, text));
    const latest = this.#items.querySelector("details[open]:not([data-kept])");
    if (latest) latest.open = false;
    details.open = true;
    // What a person opened, no message closes.
    summary.addEventListener("click", () => (details.dataset.kept = ""));
    this.#items.prepend(made("li", "", details));
    while (this.#items.children.length > MESSAGES_SHOWN) this.#items.lastChild.remove();
    this.#silence.hidden = true;
    this.#heard.textContent = `${event}: ${what}, ${source}`;
    return message;
  }

  #source(requestId) {
    const asked = this.#asked.get(requestId);
    if (asked === undefined) return "from elsewhere";
    return `from this window, ${Math.round(performance.now() - asked)} ms`;
  }
}

// Anything may be sent to a socket; what is not a JSON object is shown and changes nothing.
function parse(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

function whole(message, text) {
  const isJson = Object.keys(message).length > 0;
  const all = isJson ? JSON.stringify(message, null, 2) : text;
  const shown = all.length > CHARACTERS_SHOWN ? `${all.slice(0, CHARACTERS_SHOWN)} …` : all;
  return made("pre", "", ...(isJson ? shown.split("\n").map(line) : [shown]));
}

// A line that is too long goes on further to the right than it began.
function line(text) {
  const indent = text.search(/\S|$/);
  const element = made("span", "line", ...coloured(text.slice(indent)));
  element.style.paddingLeft = `${indent + 2}ch`;
  return element;
}

// The text in pieces: names, values, and what is between them.
function* coloured(text) {
  let end = 0;
  for (const token of text.matchAll(TOKENS)) {
    yield text.slice(end, token.index);
    const [all, string, mark] = token;
    yield made("span", mark === ":" ? "name" : string ? "string" : "literal", all);
    end = token.index + all.length;
  }
  yield text.slice(end);
}

function made(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}
