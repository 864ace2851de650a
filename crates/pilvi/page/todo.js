// A todo list that changes through REST and redraws by what the WebSocket says, so that every window, the one that
// wrote included, learns of a change in the same way. What wins when the two disagree is told in `list.js`; how the
// connection is kept, in `connection.js`; how a message is shown, in `messages.js`.

import { Connection } from "./connection.js";
import { SHOWN_MAX, TodoList } from "./list.js";
import { Messages } from "./messages.js";

const TYPE = "objects.todos";
/** A request that has no answer within this time has failed. */
const ANSWER_WITHIN_MS = 15_000;
const NEWEST = JSON.stringify([{ sortBy: "id", direction: "desc" }]);

const page = Object.fromEntries(
  ["state", "second", "open-count", "add", "title", "problem", "todos", "nothing", "shell"]
    .map((id) => [id, document.getElementById(id)]),
);

const messages = new Messages();
const connection = new Connection({ changed: showState, opened: load, heard: hear });

let list = new TodoList();
let backendId;
let loaded = false;

async function eds(method, path, body) {
  const reply = await fetch(`/v1/objects/todos${path}`, {
    method,
    headers: { "Enginio-Backend-Id": connection.config.backendId, "X-Request-Id": messages.expectOne() },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
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

// The socket is open already, so what changes after the list was made arrives as a message.
async function load() {
  if (backendId !== connection.config.backendId) {
    // Another server has taken the place of the one that was here.
    backendId = connection.config.backendId;
    list = new TodoList();
    page.shell.textContent = `curl ${location.origin}/v1/objects/todos \\\n`
      + `  -H 'Enginio-Backend-Id: ${backendId}' \\\n  -d '{"title":"Bring milk"}'`;
  }
  const take = list.expectList();
  const { results } = await eds("GET", `?limit=${SHOWN_MAX}&sort=${encodeURIComponent(NEWEST)}`);
  take(results);
  loaded = true;
  draw();
}

function hear(text) {
  const { object, meta } = messages.show(text);
  if (object?.objectType === TYPE && list.hear(meta?.eventName, object)) draw();
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// One row for each todo, kept while the todo lives, so that a change moves neither the focus nor anything else.
const rows = new Map();

function makeRow(id) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => attempt(() => eds("PUT", `/${id}`, { completed: box.checked })));
  const title = element("span", {});
  const remove = element("button", { type: "button", textContent: "Delete" });
  remove.addEventListener("click", () => attempt(() => eds("DELETE", `/${id}`)));
  const item = element("li", {}, element("label", {}, box, title), remove);
  return { item, box, title, remove };
}

function removeRow(id) {
  const { item } = rows.get(id);
  if (item.contains(document.activeElement)) {
    // Whoever deletes by keyboard goes on at the next row.
    const next = item.nextElementSibling ?? item.previousElementSibling;
    (next?.querySelector("button") ?? page.title).focus();
  }
  item.remove();
  rows.delete(id);
}

function draw() {
  const todos = list.newestFirst();
  const living = new Set(todos.map(({ id }) => id));
  [...rows.keys()].filter((id) => !living.has(id)).forEach(removeRow);
  todos.forEach((todo, index) => {
    if (!rows.has(todo.id)) rows.set(todo.id, makeRow(todo.id));
    const { item, box, title, remove } = rows.get(todo.id);
    box.checked = todo.completed === true;
    item.className = box.checked ? "done" : "";
    title.textContent = String(todo.title ?? "(no title)");
    remove.setAttribute("aria-label", `Delete ${title.textContent}`);
    // Moving an element takes the focus from it, so only what is elsewhere is moved.
    const there = page.todos.children[index];
    if (there !== item) page.todos.insertBefore(item, there ?? null);
  });
  const open = todos.filter((todo) => todo.completed !== true).length;
  page["open-count"].textContent = todos.length > 0 ? `${open} of ${todos.length} open` : "";
  page.nothing.hidden = !loaded || todos.length > 0;
}

function showState(name, text) {
  page.state.dataset.state = name;
  page.state.textContent = text;
}

page.add.addEventListener("submit", (event) => {
  event.preventDefault();
  const title = page.title.value.trim();
  page.title.value = "";
  if (title) attempt(() => eds("POST", "", { title, completed: false }));
});

// Where the browser lets a page have windows, the second one stands on the right half of the screen.
page.second.addEventListener("click", (event) => {
  const width = Math.floor(screen.availWidth / 2);
  const place = `popup,width=${width},height=${screen.availHeight},left=${width},top=0`;
  if (window.open(page.second.href, "_blank", place)) event.preventDefault();
});

connection.open();
