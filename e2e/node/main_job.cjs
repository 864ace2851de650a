'use strict';
// The main job with a stock WebSocket library: every connected socket hears of a write.

const assert = require('node:assert/strict');
const WebSocket = require('ws');
const { report, inTime, given, Inbox } = require('./report.cjs');

const base = given('ADDRESS');

const DATA = { 'Enginio-Backend-Id': given('BACKEND_ID'), 'Content-Type': 'application/json' };

async function request(method, path, headers, body) {
  const answer = await inTime(`${method} ${path}`, fetch(base + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
  }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

async function connect() {
  const address = await request('GET', `/v1/gateways/${given('GATEWAY_ID')}/websocket_uri`, {});
  assert.deepEqual(Object.keys(address).sort(), ['expiresAt', 'tags', 'uri']);
  const socket = new WebSocket(address.uri);
  const messages = new Inbox(socket, 'message');
  await inTime('the socket to open', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return messages;
}

report(async () => {
  const listeners = [await connect(), await connect()];
  const todo = await request('POST', '/v1/objects/todos', DATA, { title: 'Ring the bell', completed: false });
  await request('PUT', `/v1/objects/todos/${todo.id}`, DATA, { completed: true });
  await request('DELETE', `/v1/objects/todos/${todo.id}`, DATA);
  const events = [];
  for (const [eventName, completed] of [['create', false], ['update', true], ['delete', true]]) {
    for (const messages of listeners) {
      const { object, meta } = JSON.parse(await messages.text());
      assert.equal(meta.eventName, eventName);
      assert.equal(object.id, todo.id);
      assert.equal(object.completed, completed);
      assert.equal(meta.backendId, given('BACKEND_ID'));
    }
    events.push(eventName);
  }
  return { events };
});
