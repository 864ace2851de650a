// A todo list that changes through REST and redraws only by what the WebSocket says, so that every window, this one
// included, learns of a change in the same way.

const TYPE = "objects.todos";
const MESSAGES_SHOWN = 50;

const config = await (await fetch("/todo/config.json")).json();
const todos = new Map();
const page = Object.fromEntries(
  ["state", "open-count", "add", "title", "problem", "todos", "nothing", "messages", "silence"]
    .map((id) => [id, document.getElementById(id)]),
);

async function eds(method, path, body) {
  const reply = await fetch(`/v1/objects/todos${path}`, {
    method,
    headers: { "Enginio-Backend-Id": config.backendId },
    body: body && JSON.stringify(body),
  });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.errors?.[0]?.message ?? `the server answered ${reply.status}`);
  return answer;
}

async function attempt(work) {
  page.problem.hidden = true;
  try {
    await work();
  } catch (error) {
    page.problem.textContent = `That did not work: ${error.message}`;
    page.problem.hidden = false;
    draw();
  }
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// One row for each todo, kept while the todo lives, so that a change moves neither the focus nor anything else.
const rows = new Map();

function row(id) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => attempt(() => eds("PUT", `/${id}`, { completed: box.checked })));
  const title = element("span", {});
  const remove = element("button", { type: "button", textContent: "Delete" });
  remove.addEventListener("click", () => attempt(() => eds("DELETE", `/${id}`)));
  const item = element("li", {}, element("label", {}, box, title), remove);
  return { item, box, title, remove };
}

function draw() {
  for (const [id, { item }] of rows) {
    if (todos.has(id)) continue;
    item.remove();
    rows.delete(id);
  }
  const sorted = [...todos.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  sorted.forEach((todo, index) => {
    if (!rows.has(todo.id)) rows.set(todo.id, row(todo.id));
    const { item, box, title, remove } = rows.get(todo.id);
    box.checked = todo.completed === true;
    item.className = box.checked ? "done" : "";
    title.textContent = String(todo.title ?? "(no title)");
    remove.title = `Delete "${title.textContent}"`;
    if (page.todos.children[index] !== item) page.todos.insertBefore(item, page.todos.children[index] ?? null);
  });
  const open = sorted.filter((todo) => !todo.completed).length;
  page["open-count"].textContent = `${open} open`;
  page.nothing.hidden = sorted.length > 0;
}

function show(text) {
  let event = "message";
  try {
    const { object, meta } = JSON.parse(text);
    event = meta?.eventName ?? event;
    if (object?.objectType === TYPE) {
      if (event === "delete") todos.delete(object.id);
      else if (!(todos.get(object.id)?.updatedAt > object.updatedAt)) todos.set(object.id, object);
      draw();
    }
  } catch {
    // Anything may be sent to a socket; what is not JSON is shown and changes nothing.
  }
  const name = element("span", { className: "event", textContent: event });
  name.dataset.event = event;
  const at = element("time", { textContent: new Date().toLocaleTimeString() });
  page.messages.prepend(element("li", {}, name, at, element("pre", { textContent: text })));
  while (page.messages.children.length > MESSAGES_SHOWN) page.messages.lastChild.remove();
  page.silence.hidden = true;
}

function state(name, text) {
  page.state.dataset.state = name;
  page.state.textContent = text;
}

async function load() {
  const { results } = await eds("GET", "?limit=1000");
  todos.clear();
  for (const todo of results) todos.set(todo.id, todo);
  draw();
}

// The URI of a WebSocket serves once, so every connection begins by fetching one.
async function connect(wait = 500) {
  try {
    state("connecting", "connecting");
    const { uri } = await (await fetch(`/v1/gateways/${config.gatewayId}/websocket_uri`)).json();
    const socket = new WebSocket(uri);
    socket.addEventListener("open", async () => {
      wait = 500;
      state("connected", "connected");
      await attempt(load);
    });
    socket.addEventListener("message", ({ data }) => show(data));
    socket.addEventListener("close", () => again(wait));
  } catch {
    again(wait);
  }
}

function again(wait) {
  state("waiting", "not connected, trying again");
  setTimeout(() => connect(Math.min(wait * 2, 10_000)), wait);
}

page.add.addEventListener("submit", (event) => {
  event.preventDefault();
  const title = page.title.value.trim();
  if (!title) return;
  page.title.value = "";
  attempt(() => eds("POST", "", { title, completed: false }));
});

connect();
