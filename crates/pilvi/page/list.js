// What one window knows of the todos.
//
// Two sources tell of them: messages on the WebSocket, and the list that is asked for over REST whenever a socket has
// opened. The list shows one moment between its request and its arrival, so a message that comes in meanwhile may be
// older or newer than what the list says. These rules settle it:
//
// 1. Of two states of one todo the one with the later `updatedAt` counts; the server lets it grow with every write.
// 2. A deleted todo stays deleted, whatever arrives late: an id is never used again.
// 3. A todo that the list lacks is gone, unless a message told of it after the list was asked for. Such a todo may be
//    younger than the list; and should it be gone after all, the message that says so is still to come.

/** How many todos a window holds: the newest. */
export const SHOWN_MAX = 200;

/** How many deleted ids are remembered: far more than can be deleted while one list is on its way. */
const GONE_MAX = 10_000;

const EVENTS = new Set(["create", "update", "delete"]);

export class TodoList {
  #todos = new Map();
  #gone = new Set();
  /** The ids that messages told of since the latest list was asked for. */
  #heard = new Set();

  /** The newest first; ids grow with time. */
  newestFirst() {
    return [...this.#todos.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** Takes what a message says, and tells whether it said anything: everybody may send to a socket. */
  hear(event, todo) {
    if (!EVENTS.has(event) || typeof todo.id !== "string" || typeof todo.updatedAt !== "string") return false;
    this.#heard.add(todo.id);
    if (event === "delete") this.#forget(todo.id);
    else this.#keep(todo);
    this.#trim();
    return true;
  }

  /** To be called before the list is asked for; what it returns takes the answer. */
  expectList() {
    const heard = new Set();
    this.#heard = heard;
    return (todos) => {
      // The answer to an older question says nothing that a newer one will not say.
      if (heard === this.#heard) this.#takeList(todos);
    };
  }

  #takeList(todos) {
    const listed = new Set(todos.map(({ id }) => id));
    // A full list ends somewhere, and is silent about what is older.
    const end = todos.length < SHOWN_MAX ? "" : todos.reduce((end, { id }) => (id < end ? id : end), todos[0].id);
    for (const id of this.#todos.keys()) {
      if (!listed.has(id) && !this.#heard.has(id) && id > end) this.#forget(id);
    }
    todos.forEach((todo) => this.#keep(todo));
    this.#trim();
  }

  #keep(todo) {
    if (this.#gone.has(todo.id)) return;
    const known = this.#todos.get(todo.id);
    if (!known || known.updatedAt < todo.updatedAt) this.#todos.set(todo.id, todo);
  }

  #forget(id) {
    this.#todos.delete(id);
    this.#gone.add(id);
    if (this.#gone.size > GONE_MAX) this.#gone.delete(this.#gone.values().next().value);
  }

  #trim() {
    for (const { id } of this.newestFirst().slice(SHOWN_MAX)) this.#todos.delete(id);
  }
}
