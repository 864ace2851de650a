'use strict';
// The published client's gateway calls: open, message, send, createSocket, getSockets, getSocketInfo.

const assert = require('node:assert/strict');
const WebSocket = require('ws');
const { Mws } = require('qtc');
const { report, call, refusal, inTime, given, Inbox } = require('./report.cjs');

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

// Without an id it talks to the address itself, as to a server of one gateway.
function gateway(secret) {
  return new Mws({ address: given('ADDRESS'), gatewayId: process.env.GATEWAY_ID, secret });
}

// Opens the client's own socket and returns what it hears.
async function open(mws) {
  const messages = new Inbox(mws, 'message');
  const opened = new Inbox(mws, 'open');
  mws.on('error', (status, body) => {
    throw new Error(`no address for a socket: ${status} ${JSON.stringify(body)}`);
  });
  mws.open();
  await opened.next();
  return messages;
}

async function checkCreateSocket(mws) {
  const created = await call((done) => mws.createSocket(['player1', 5], done));
  assert.deepEqual(Object.keys(created).sort(), ['expiresAt', 'id', 'tags', 'uri']);
  assert.deepEqual(created.tags, ['player1', '5'], 'tags are texts');
  assert.match(created.expiresAt, ISO_TIME);
  assert.ok(created.uri.endsWith(`/?token=${created.id}`), created.uri);

  const reserved = await call((done) => mws.getSockets(done));
  assert.ok(!reserved.results.some((socket) => socket.id === created.id), 'a reservation is not listed');

  const socket = new WebSocket(created.uri);
  const messages = new Inbox(socket, 'message');
  await inTime('the created socket to open', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return { created, socket, messages };
}

async function checkSockets(mws, created) {
  const listed = await call((done) => mws.getSockets(done));
  assert.equal(listed.results.length, 2);
  const info = await call((done) => mws.getSocketInfo(created.id, done));
  assert.equal(info.id, created.id);
  assert.deepEqual(info.tags, ['player1', '5']);
  assert.match(info.connectedAt, ISO_TIME);
  assert.equal(info.createdAt, info.connectedAt);
  assert.deepEqual(listed.results.find((socket) => socket.id === created.id), info);
  const body = await refusal(404, call((done) => mws.getSocketInfo('0'.repeat(64), done)));
  assert.equal(body.error.reason, 'NotFound');
}

async function checkSend(mws, created, everybody, tagged) {
  const sent = await call((done) => mws.send('hello', { sockets: ['*'] }, done));
  assert.equal(JSON.stringify(sent), '{"data":"hello","receivers":{"sockets":["*"],"tags":null}}');
  await call((done) => mws.send('for a tag', { tags: ['player1'] }, done));
  await call((done) => mws.send('for one', { sockets: [created.id] }, done));
  await call((done) => mws.send('for nobody', { tags: ['player2'] }, done));
  await call((done) => mws.send({ o: 1 }, { sockets: ['*'] }, done));

  assert.equal(await everybody.text(), 'hello');
  assert.equal(await everybody.text(), '{"o":1}');
  for (const text of ['hello', 'for a tag', 'for one', '{"o":1}']) {
    assert.equal(await tagged.text(), text);
  }
}

// A used address completes the handshake and is closed then: a refused one would throw in the old client's process.
async function checkUsedAddress(created) {
  const again = new WebSocket(created.uri);
  const closed = new Inbox(again, 'close');
  const [code] = await closed.next();
  assert.equal(code, 1000);
}

report(async () => {
  const mws = gateway(given('TOKEN'));
  const everybody = await open(mws);
  const { created, socket, messages } = await checkCreateSocket(mws);
  await checkSockets(mws, created);
  await checkSend(mws, created, everybody, messages);
  await checkUsedAddress(created);

  const wrong = await refusal(401, call((done) => gateway('wrong').getSockets(done)));
  assert.deepEqual(wrong, { error: { reason: 'AccessDenied', message: 'Access denied' } });

  const closed = new Inbox(mws, 'close');
  mws.socket.close();
  socket.close();
  await closed.next();
  return { heard: 6 };
});
