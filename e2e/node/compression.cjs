'use strict';
// npm `ws` at a gateway that compresses: what is said arrives unchanged at every kind of listener, in few bytes at those
// that read compressed messages, and what they say themselves is taken compressed.

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const WebSocket = require('ws');
const { report, inTime, given, Inbox } = require('./report.cjs');

const gateway = `${given('ADDRESS')}/v1/gateways/${given('GATEWAY_ID')}`;
const asOwner = { Authorization: `Bearer ${given('TOKEN')}` };

const MEBIBYTE = 1 << 20;

// A message, and at most how many bytes of it may travel when it is compressed.
const UPDATE = '{"object":{"score":17,"player":"p1"},"meta":{"eventName":"update"}}';
const MESSAGES = [
  ['short', 7],
  [UPDATE.repeat(4), UPDATE.length + 40],
  ['Grüße, 世界 🎈 '.repeat(2000), 3000],
  ['x'.repeat(MEBIBYTE), 8 << 10],
  [UPDATE.repeat(8000), 64 << 10],
  // Larger than the window, and nothing in it twice.
  [randomBytes(48 << 10).toString('base64'), 64 << 10],
];

async function request(method, path, body) {
  const answer = await inTime(`${method} ${path}`, fetch(gateway + path, { method, headers: asOwner, body }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

function tell(data, more = {}) {
  return request('POST', '/messages', JSON.stringify({ data, receivers: { sockets: ['*'], tags: null }, ...more }));
}

async function allow(compression) {
  const answer = await request('PUT', '/configuration', JSON.stringify({ compression }));
  assert.equal(answer.compression, compression);
}

// An open socket, what it hears, and how many bytes came in on its connection.
async function open(perMessageDeflate) {
  const { uri } = await request('GET', '/websocket_uri');
  const socket = new WebSocket(uri, { perMessageDeflate });
  const messages = new Inbox(socket, 'message');
  const pongs = new Inbox(socket, 'pong');
  const closes = new Inbox(socket, 'close');
  let connection;
  socket.on('upgrade', (response) => { connection = response.socket; });
  await inTime('the socket to open', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return { socket, messages, pongs, closes, bytesRead: () => connection.bytesRead };
}

function negotiated({ socket }) {
  const { 'permessage-deflate': agreed } = socket._extensions;
  return agreed ? agreed.params : null;
}

async function expectMessage(listener, expected, binary = false) {
  const [data, isBinary] = await listener.messages.next();
  assert.equal(isBinary, binary);
  assert.ok(data.equals(Buffer.from(expected)), `heard ${data.length} bytes that are not what was said`);
}

// Everybody hears it; the compressing ones in few bytes, the others in as many as it has. A small window finds less: an
// eighth is what it can promise of texts that repeat themselves.
async function checkMessage(compressing, plain, data, most) {
  const before = [...compressing, ...plain].map((listener) => listener.bytesRead());
  await tell(data);
  const all = [...compressing, ...plain];
  for (const [place, listener] of all.entries()) {
    await expectMessage(listener, data);
    const bytes = listener.bytesRead() - before[place];
    if (place < compressing.length) {
      const { server_max_window_bits: small } = negotiated(listener);
      const bound = small ? Math.max(most, Buffer.byteLength(data) / 8) : most;
      assert.ok(bytes <= bound, `${Buffer.byteLength(data)} bytes came as ${bytes} with window bits ${small}`);
    } else {
      assert.ok(bytes > Buffer.byteLength(data), `${bytes} bytes are too few`);
    }
  }
}

async function checkMessages() {
  const compressing = [await open(true), await open({ clientMaxWindowBits: 9 }), await open({ serverMaxWindowBits: 15 })];
  const narrow = [await open({ serverMaxWindowBits: 9 }), await open({ serverMaxWindowBits: 12, threshold: 0 })];
  const plain = [await open(false)];
  for (const listener of [...compressing, ...narrow]) {
    const agreed = negotiated(listener);
    assert.ok(agreed.server_no_context_takeover && agreed.client_no_context_takeover, listener.socket.extensions);
  }
  assert.equal(negotiated(narrow[1]).server_max_window_bits, 12);
  assert.equal(negotiated(plain[0]), null);
  for (const [data, most] of MESSAGES) {
    await checkMessage([...compressing, ...narrow], plain, data, most);
  }
  return { compressing: [...compressing, ...narrow], plain };
}

// Several messages that leave in one write, and others by tags, each to those it is for.
async function checkBursts(listeners) {
  const texts = Array.from({ length: 40 }, (_, number) => `${number} ${UPDATE.repeat(number)}`);
  // Whoever asks in one go is answered in any order, so the order is that of the first listener.
  await Promise.all(texts.map((text) => tell(text)));
  const heard = [];
  for (let count = 0; count < texts.length; count += 1) heard.push(await listeners[0].messages.text());
  assert.deepEqual([...heard].sort(), [...texts].sort());
  for (const listener of listeners.slice(1)) {
    for (const text of heard) await expectMessage(listener, text);
  }
}

async function checkBinary(listeners) {
  const bytes = Buffer.concat([randomBytes(300), Buffer.alloc(5000, 7)]);
  await tell(bytes.toString('base64'), { encoding: 'base64' });
  for (const listener of listeners) await expectMessage(listener, bytes, true);
}

// What clients say is dropped here, compressed or not, and a bomb is not unpacked: nothing is heard of it.
async function checkClients(listener) {
  const { socket, pongs, closes } = listener;
  socket.send('said compressed '.repeat(100), { compress: true });
  socket.send('in two frames '.repeat(100), { compress: true, fin: false });
  socket.ping('between');
  socket.send('of which this is the second '.repeat(100), { compress: true, fin: true });
  socket.send(Buffer.alloc(16 << 20), { compress: true });
  socket.send('', { compress: true });
  socket.ping('after');
  assert.equal(String((await pongs.next())[0]), 'between');
  assert.equal(String((await pongs.next())[0]), 'after');
  // What cannot be made small is too big as ever.
  socket.send(randomBytes(MEBIBYTE), { compress: true });
  assert.equal((await closes.next())[0], 1009);
}

// Sockets that are open keep to what was agreed; new ones get nothing.
async function checkOff({ compressing, plain }) {
  await allow(false);
  const late = await open(true);
  assert.equal(late.socket.extensions, '');
  await checkMessage(compressing, [...plain, late], UPDATE.repeat(100), 1000);
}

report(async () => {
  const before = await open(true);
  assert.equal(before.socket.extensions, '', 'compression is off until it is asked for');
  await allow(true);
  before.socket.terminate();
  const listeners = await checkMessages();
  await checkBursts([...listeners.compressing, ...listeners.plain]);
  await checkBinary([...listeners.compressing, ...listeners.plain]);
  await checkClients(await open({ threshold: 0 }));
  await checkOff(listeners);
  return { messages: MESSAGES.length };
});
