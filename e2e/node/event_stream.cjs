'use strict';
// npm `eventsource` against the gateway: messages, their ids, the end of a stream, addresses that are no good.

const assert = require('node:assert/strict');
const { EventEmitter } = require('node:events');
const { EventSource } = require('eventsource');
const { report, inTime, given, Inbox } = require('./report.cjs');

const base = given('ADDRESS');
const gateway = `${base}/v1/gateways/${given('GATEWAY_ID')}`;
const asOwner = { Authorization: `Bearer ${given('TOKEN')}` };

const MEBIBYTE = 1 << 20;
const TEXTS = ['Hello World!', 'Grüße, 世界 🎈', ' ', ' two\nlines\n', 'a\r\n\r\nb\rc', 'data: x\nid: y', 'x'.repeat(MEBIBYTE)];
// As the standard has any stream read.
const asRead = (text) => text.replaceAll(/\r\n|\r/g, '\n');

async function request(method, path, headers = {}, body) {
  const answer = await inTime(`${method} ${path}`, fetch(gateway + path, { method, headers, body }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// A socket's address as a stream's: the same, with another scheme.
const asStream = (uri) => uri.replace(/^ws/, 'http');

async function fresh(tags = []) {
  const made = await request('POST', '/sockets', asOwner, JSON.stringify({ tags }));
  return { id: made.id, url: asStream(made.uri) };
}

function tell(data, receivers = { sockets: ['*'], tags: null }, more = {}) {
  return request('POST', '/messages', asOwner, JSON.stringify({ data, receivers, ...more }));
}

// An open stream and what it hears.
async function open(tags) {
  const { id, url } = await fresh(tags);
  const source = new EventSource(url);
  const emitter = new EventEmitter();
  const heard = {};
  for (const name of ['open', 'message', 'binary', 'close', 'error']) {
    heard[name] = new Inbox(emitter, name);
    source.addEventListener(name, (event) => emitter.emit(name, event));
  }
  await heard.open.next();
  return { id, url, source, heard };
}

async function next(listener, name = 'message') {
  const [event] = await listener.heard[name].next();
  return event;
}

async function checkMessages() {
  const listeners = [await open(), await open(['a tag'])];
  const ids = [];
  for (const text of TEXTS) {
    await tell(text);
    const [first, second] = [await next(listeners[0]), await next(listeners[1])];
    assert.ok(first.data === asRead(text), `heard ${first.data.length} letters that are not what was said`);
    assert.equal(first.data, second.data);
    assert.equal(first.lastEventId, second.lastEventId);
    ids.push(first.lastEventId);
  }
  assert.deepEqual([...ids].sort(), ids, 'ids tell the order');
  assert.equal(new Set(ids).size, TEXTS.length);
  await tell('for the tag', { sockets: null, tags: ['a tag'] });
  assert.equal((await next(listeners[1])).data, 'for the tag');
  await tell('for one', { sockets: [listeners[0].id], tags: null });
  assert.equal((await next(listeners[0])).data, 'for one');
  return listeners;
}

async function checkBinary(listeners) {
  const bytes = Buffer.from([0, 10, 13, 255]);
  await tell(bytes.toString('base64'), undefined, { encoding: 'base64' });
  for (const listener of listeners) {
    assert.deepEqual(Buffer.from((await next(listener, 'binary')).data, 'base64'), bytes);
  }
}

async function checkLists(listeners) {
  const { results } = await request('GET', '/sockets', asOwner);
  assert.deepEqual(results.map(({ id }) => id).sort(), listeners.map(({ id }) => id).sort());
  const one = await request('GET', `/sockets/${listeners[1].id}`, asOwner);
  assert.deepEqual(one.tags, ['a tag']);
}

// The stream says why it ends. Who comes back with a used address is told once, and stays away.
async function checkDeletion() {
  const listener = await open();
  await request('DELETE', `/sockets/${listener.id}`, asOwner);
  assert.deepEqual(JSON.parse((await next(listener, 'close')).data), { code: 1000, reason: '' });
  let refused = await next(listener, 'error');
  while (listener.source.readyState !== EventSource.CLOSED) refused = await next(listener, 'error');
  assert.equal(refused.code, 410);
}

async function checkBadAddresses() {
  for (const token of ['0'.repeat(64), 'nothing', '']) {
    const answer = await fetch(`${base}/?token=${token}`, { headers: { Accept: 'text/event-stream' } });
    assert.equal(answer.status, 410);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal((await answer.json()).error.reason, 'Gone');
  }
  // A socket and a stream are one thing: what opened one opens no other.
  const listener = await open();
  const again = await fetch(listener.url, { headers: { Accept: 'text/event-stream' } });
  assert.equal(again.status, 410);
  await tell('not disturbed', { sockets: [listener.id], tags: null });
  assert.equal((await next(listener)).data, 'not disturbed');
  listener.source.close();
}

async function checkGoodbye(listeners) {
  process.stdout.write('stop the server\n');
  for (const listener of listeners) {
    assert.deepEqual(JSON.parse((await next(listener, 'close')).data), { code: 1001, reason: 'going away' });
    listener.source.close();
  }
}

report(async () => {
  const listeners = await checkMessages();
  await checkBinary(listeners);
  await checkLists(listeners);
  await checkDeletion();
  await checkBadAddresses();
  await checkGoodbye(listeners);
  return { texts: TEXTS.length };
});
