'use strict';
// Every call in the published description of gateways, made by a client that knows nothing else. It is the gateway's
// app as well, and holds what it is told to the description.

const assert = require('node:assert/strict');
const http = require('node:http');
const { setTimeout: pause } = require('node:timers/promises');
const WebSocket = require('ws');
const { clientOf } = require('./described.cjs');
const { report, given, inTime, Inbox } = require('./report.cjs');

const LOOK_AGAIN_MS = 20;
const TOO_LARGE_BYTES = 1_048_577;

const { call, checkDocument, expectFit, summary } = clientOf('mws');
const into = { gateway: given('GATEWAY_ID') };
const headers = { Authorization: `Bearer ${given('TOKEN')}` };
const owned = { into, headers };
const about = (id) => ({ into: { ...into, id }, headers });
const nobody = '0'.repeat(64);
const everybody = { sockets: ['*'], tags: null };

// Looks until there is something.
async function seen(what, look) {
  const looking = { goesOn: true };
  const found = (async () => {
    while (looking.goesOn) {
      const value = await look();
      if (value) return value;
      await pause(LOOK_AGAIN_MS);
    }
  })();
  return inTime(what, found).finally(() => { looking.goesOn = false; });
}

async function open(uri) {
  const socket = new WebSocket(uri);
  const messages = new Inbox(socket, 'message');
  await inTime('a socket to open', new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject)));
  return { socket, messages };
}

async function checkSockets() {
  await call('postSockets', 401, { into, body: {} });
  await call('postSockets', 422, { ...owned, body: { tags: 'one' } });
  const made = await call('postSockets', 201, { ...owned, body: { tags: ['a', 5, true] } });
  const { socket, messages } = await open(made.uri);
  await call('getSocketsId', 404, about(nobody));
  assert.deepEqual((await call('getSocketsId', 200, about(made.id))).tags, ['a', '5', 'true']);
  assert.equal((await call('getSockets', 200, { ...owned, query: { limit: '1', offset: '0' } })).results.length, 1);
  await call('getSockets', 422, { ...owned, query: { limit: 'all' } });
  await call('putSocketsId', 200, { ...about(made.id), body: { tags: ['b'] } });
  await call('postMessages', 201, { into, body: { data: { any: 1 }, receivers: { tags: ['b'] } } });
  assert.equal(await messages.text(), '{"any":1}');
  await call('postMessages', 201, { into, body: { data: 'aGk=', encoding: 'base64', receivers: everybody } });
  assert.equal(await messages.text(), 'hi');
  await call('postMessages', 422, { into, body: {} });
  await call('postMessages', 413, { into, body: { data: 'x'.repeat(TOO_LARGE_BYTES), receivers: everybody } });
  const receivers = [{ id: '*', objectType: 'aclSubject' }];
  await call('postWebhookReceiversEnginio', 201, { ...owned, body: { payload: { object: {} }, receivers } });
  assert.equal(await messages.text(), '{"object":{}}');
  const closed = new Inbox(socket, 'close');
  await call('deleteSocketsId', 200, about(made.id));
  assert.equal((await closed.next())[0], 1000);
}

async function checkAddresses() {
  await call('getWebsocketUri', 404, { into: { gateway: '0'.repeat(24) } });
  const { uri } = await call('getWebsocketUri', 200, { into });
  const stream = { query: { token: new URL(uri).searchParams.get('token') }, headers: { Accept: 'text/event-stream' } };
  assert.match(String(await call('getEvents', 200, stream)), /^:/, 'an empty comment, until there is a message');
  await call('getEvents', 410, stream);
}

async function checkAdditions() {
  const tag = 'room.1';
  const { tags } = (await call('putConfiguration', 200, { ...owned, body: { presence: { tags: ['room.*'] } } })).presence;
  assert.deepEqual(tags, ['room.*']);
  await call('putConfiguration', 200, { ...owned, body: { history: [{ tag: 'room.*', messages: 5 }], compression: true } });
  await call('putConfiguration', 422, { ...owned, body: { history: 5 } });
  const { uri, id: token } = await call('postSockets', 201, { ...owned, body: { tags: [tag] } });
  const { socket } = await open(uri);
  await call('getPresence', 403, { into, query: { tag } });
  assert.equal((await call('getPresence', 200, { into, query: { tag, token } })).count, 1);
  assert.equal((await call('getPresence', 200, owned)).results[0].tag, tag);
  await call('postMessages', 201, { into, body: { data: 'kept', receivers: { tags: [tag] } } });
  const { results: [kept] } = await call('getHistory', 200, { into, query: { tag, token } });
  assert.equal(kept.data, 'kept');
  const later = await call('getHistory', 200, { into, query: { tag, token, after: kept.id, limit: '1' } });
  assert.deepEqual([later.results, later.complete], [[], true]);
  socket.close();
}

// An app that answers nothing, and holds what it is told to the description.
async function startApp() {
  const told = [];
  const app = http.createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    told.push(JSON.parse(Buffer.concat(pieces)));
    response.end();
  });
  await new Promise((listening) => app.listen(0, '127.0.0.1', listening));
  return { told, url: `http://127.0.0.1:${app.address().port}/` };
}

async function checkEvents() {
  const { told, url } = await startApp();
  await call('putConfiguration', 200, { ...owned, body: { events: { url } } });
  await call('postEventsSecret', 200, { ...owned, body: { overlapHours: 1 } });
  await call('postEventsSecret', 422, { ...owned, body: { overlapHours: -1 } });
  assert.equal((await call('postEventsTest', 200, owned)).status, 200);
  const { uri } = await call('getWebsocketUri', 200, { into });
  const { socket } = await open(uri);
  socket.send('said');
  socket.send(Buffer.from([0]));
  await seen('what was said', async () => told.length >= 4);
  socket.close();
  await seen('the end', async () => told.length >= 5);
  for (const event of told) expectFit('the app is told', { $ref: '#/components/schemas/Event' }, event);
  assert.deepEqual(told.map(({ type }) => type), ['test', 'connect', 'message', 'message', 'disconnect']);
  assert.deepEqual((await call('getConfiguration', 200, owned)).events.url, url);
}

report(async () => {
  await checkDocument();
  await call('getConfiguration', 200, owned);
  await checkSockets();
  await checkAddresses();
  await checkAdditions();
  await checkEvents();
  return summary();
});
