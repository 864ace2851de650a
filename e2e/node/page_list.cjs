'use strict';
// The rules of the page's `list.js` against a small model: whatever order messages and lists arrive in, a window that
// has heard everything knows what the server knows.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { report, given } = require('./report.cjs');

const ROUNDS = 3_000;
const STEPS = 60;

// A small generator whose seed tells the whole run.
function chance(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

// A server whose messages of one todo come in order, and otherwise in any.
class Model {
  constructor(random) {
    this.random = random;
    this.todos = new Map();
    this.queues = new Map();
    this.written = 0;
  }

  pick(values) {
    const all = [...values];
    return all[this.random(all.length)];
  }

  write() {
    this.written += 1;
    const updatedAt = String(this.written).padStart(6, '0');
    const known = this.todos.size > 0 && this.random(3) > 0 ? this.pick(this.todos.keys()) : undefined;
    if (known === undefined) this.put('create', { id: `t${updatedAt}`, updatedAt });
    else if (this.random(2) === 0) this.put('update', { id: known, updatedAt });
    else this.tell('delete', this.todos.get(known)) && this.todos.delete(known);
  }

  put(event, todo) {
    this.todos.set(todo.id, todo);
    this.tell(event, todo);
  }

  tell(event, todo) {
    const queue = this.queues.get(todo.id) ?? [];
    this.queues.set(todo.id, queue);
    return queue.push([event, todo]);
  }

  // Delivers one message, now and then without remembering that it did; none is left when this returns false.
  deliver(list) {
    const waiting = [...this.queues.values()].filter((queue) => queue.length > 0);
    if (waiting.length === 0) return false;
    const queue = this.pick(waiting);
    list?.hear(...queue[0]);
    if (this.random(5) > 0) queue.shift();
    return true;
  }

  newestFirst() {
    return [...this.todos.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }
}

function round(seed, TodoList, most) {
  const random = chance(seed);
  const model = new Model(random);
  const list = new TodoList();
  const onTheWay = [];
  const ask = () => {
    const take = list.expectList();
    const moment = { take, todos: undefined };
    onTheWay.push(moment);
    return moment;
  };
  const answer = (moment) => { moment.todos ??= model.newestFirst().slice(0, most); };
  let connected = false;
  for (let step = 0; step < STEPS; step += 1) {
    const what = random(10);
    if (what < 3) model.write();
    // Often enough that nearly all has been heard when a list arrives.
    else if (what < 7) for (let count = random(6); count > 0; count -= 1) model.deliver(connected ? list : undefined);
    else if (what === 7 && random(3) === 0) {
      // The connection is lost, and what is told meanwhile as well; the next begins with a list.
      connected = !connected;
      if (connected) ask();
    } else if (onTheWay.length > 0) {
      const moment = random(3) > 0 ? onTheWay.at(-1) : model.pick(onTheWay);
      if (moment.todos === undefined) answer(moment);
      else if (random(2) === 0) onTheWay.splice(onTheWay.indexOf(moment), 1)[0].take(moment.todos);
    }
  }
  if (!connected) ask();
  while (onTheWay.length > 0) {
    const [moment] = onTheWay.splice(random(onTheWay.length), 1);
    answer(moment);
    moment.take(moment.todos);
  }
  while (model.deliver(list));
  assert.deepEqual(list.newestFirst(), model.newestFirst(), `seed ${seed}`);
}

// A full list is silent about what is older than its end, and drops nothing that is younger.
function checkFullList(TodoList, most) {
  const todo = (number) => ({ id: String(number).padStart(6, '0'), updatedAt: '1' });
  const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => todo(to - 1 - index));
  const list = new TodoList();
  list.expectList()(numbers(0, most));
  list.expectList()(numbers(1, most + 1));
  assert.deepEqual(list.newestFirst(), numbers(1, most + 1));
  // What the full list had no room for was not gone: it comes back when there is room.
  list.expectList()(numbers(0, most));
  assert.deepEqual(list.newestFirst(), numbers(0, most));

  const take = list.expectList();
  list.hear('create', todo(most + 1));
  take(numbers(0, most));
  assert.deepEqual(list.newestFirst(), [todo(most + 1), ...numbers(1, most)]);
  list.expectList()(numbers(2, 5));
  assert.deepEqual(list.newestFirst(), numbers(2, 5));
}

report(async () => {
  const text = fs.readFileSync(path.join(__dirname, '../../crates/pilvi/page/list.js'), 'utf8');
  const { TodoList, SHOWN_MAX } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  const seed = Number(given('SEED'));
  for (let index = 0; index < ROUNDS; index += 1) round(seed + index, TodoList, SHOWN_MAX);
  checkFullList(TodoList, SHOWN_MAX);
  return { rounds: ROUNDS };
});
