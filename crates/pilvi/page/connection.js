// Keeps one WebSocket open. The address of a socket serves once, so every connection begins by asking for one.

const WAIT_MIN_MS = 250;
const WAIT_MAX_MS = 5_000;

/** A connection that does not come about within this time is given up and tried again. */
const OPEN_WITHIN_MS = 10_000;

export class Connection {
  /** Which backend and which gateway the page uses; a server that was started anew has others. */
  config;
  #on;
  #waitMs = WAIT_MIN_MS;
  #timer;
  #trying = false;

  /** `on` holds `changed(state, text)`, `heard(text)`, and `opened()`, whose failure begins the connection anew. */
  constructor(on) {
    this.#on = on;
    // Somebody came back, or the network did: there is nothing to wait for.
    addEventListener("online", () => this.#tryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#tryNow());
  }

  async open() {
    this.#trying = true;
    this.#on.changed("connecting", "Connecting");
    try {
      const soon = AbortSignal.timeout(OPEN_WITHIN_MS);
      this.config = await json("/todo/config.json", soon);
      const { uri } = await json(`/v1/gateways/${this.config.gatewayId}/websocket_uri`, soon);
      this.#listen(new WebSocket(uri), soon);
    } catch {
      this.#again();
    }
  }

  #listen(socket, soon) {
    const giveUp = () => socket.close();
    soon.addEventListener("abort", giveUp);
    socket.addEventListener("open", () => {
      soon.removeEventListener("abort", giveUp);
      this.#on.changed("connected", "Connected");
      this.#on.opened().then(() => (this.#waitMs = WAIT_MIN_MS), () => socket.close());
    });
    socket.addEventListener("message", ({ data }) => this.#on.heard(data));
    // Comes last, also when the socket never opened.
    socket.addEventListener("close", () => this.#again());
  }

  #again() {
    this.#trying = false;
    this.#on.changed("waiting", "Not connected, trying again");
    // Many windows lose one server at the same moment; they need not come back at the same moment.
    this.#timer = setTimeout(() => this.open(), this.#waitMs * (0.5 + Math.random() / 2));
    this.#waitMs = Math.min(this.#waitMs * 2, WAIT_MAX_MS);
  }

  #tryNow() {
    if (this.#trying) return;
    clearTimeout(this.#timer);
    this.open();
  }
}

async function json(path, signal) {
  const reply = await fetch(path, { signal });
  if (!reply.ok) throw new Error(`${path} was answered with ${reply.status}`);
  return reply.json();
}
