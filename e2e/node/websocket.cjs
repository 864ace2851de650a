'use strict';
// npm `ws` against the gateway: messages, closes, pings and fragments, as a stock library does them.

const assert = require('node:assert/strict');
const WebSocket = require('ws');
const { report, inTime, given, Inbox } = require('./report.cjs');

const gateway = `${given('ADDRESS')}/v1/gateways/${given('GATEWAY_ID')}`;
const asOwner = { Authorization: `Bearer ${given('TOKEN')}` };

const MEBIBYTE = 1 << 20;
const TEXTS = ['Hello World!', 'Grüße, 世界 🎈', ' ', 'a\u0000b\u2028c', 'x'.repeat(MEBIBYTE), 'ä'.repeat(MEBIBYTE / 2)];

async function request(method, path, headers = {}, body) {
  const answer = await inTime(`${method} ${path}`, fetch(gateway + path, { method, headers, body }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

async function freshUri() {
  return (await request('GET', '/websocket_uri')).uri;
}

function tell(data, receivers = { sockets: ['*'], tags: null }) {
  return request('POST', '/messages', {}, JSON.stringify({ data, receivers }));
}

// An open socket and what it hears.
async function open(uri, options) {
  const socket = new WebSocket(uri, options);
  const heard = { messages: new Inbox(socket, 'message'), pongs: new Inbox(socket, 'pong'), closes: new Inbox(socket, 'close') };
  await inTime('the socket to open', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return { socket, ...heard };
}

async function connect(options) {
  return open(await freshUri(), options);
}

async function expectMessage(listener, expected) {
  const [data, isBinary] = await listener.messages.next();
  assert.equal(isBinary, false);
  assert.ok(String(data) === expected, `heard ${data.length} bytes that are not what was said`);
}

async function expectClose(listener, expected) {
  const [code, reason] = await listener.closes.next();
  assert.equal(code, expected);
  return String(reason);
}

async function checkMessages() {
  const listeners = [await connect({ perMessageDeflate: true }), await connect({ perMessageDeflate: false })];
  for (const { socket } of listeners) {
    assert.equal(socket.extensions, '', 'compression is declined');
    assert.equal(socket.protocol, '');
  }
  for (const text of TEXTS) {
    await tell(text);
    for (const listener of listeners) await expectMessage(listener, text);
  }
  return listeners;
}

async function checkFragments(listeners) {
  const { socket, pongs } = listeners[0];
  socket.send('said in ', { fin: false });
  socket.ping('between');
  socket.send('two pieces', { fin: true });
  socket.send(Buffer.from([0, 255]), { binary: true });
  assert.equal(String((await pongs.next())[0]), 'between');
  // What a client says goes nowhere, so the next thing that anybody hears is this.
  await tell('still there');
  for (const listener of listeners) await expectMessage(listener, 'still there');
}

async function checkPings({ socket, pongs }) {
  for (const payload of ['Ping.', 'x'.repeat(125), '']) {
    socket.ping(payload);
    assert.equal(String((await pongs.next())[0]), payload);
  }
}

async function checkClientCloses() {
  for (const code of [1000, 1001, 3000, 4321]) {
    const listener = await connect();
    listener.socket.close(code, 'bye');
    await expectClose(listener, code);
  }
  const listener = await connect();
  listener.socket.close();
  // Every close frame of the server names a code, also where the client named none.
  await expectClose(listener, 1000);
}

async function checkServerCloses() {
  const made = await request('POST', '/sockets', asOwner, JSON.stringify({ tags: ['a tag'] }));
  const listener = await open(made.uri);
  await tell('for the tag', { sockets: null, tags: ['a tag'] });
  await expectMessage(listener, 'for the tag');
  await request('DELETE', `/sockets/${made.id}`, asOwner);
  await expectClose(listener, 1000);

  const talkative = await connect();
  talkative.socket.send('x'.repeat(MEBIBYTE));
  assert.equal(await expectClose(talkative, 1009), 'message too big');
}

// Such an address completes the handshake and is closed then: a refused one would throw in an old client's process.
async function checkBadAddresses() {
  const uri = await freshUri();
  const first = await open(uri);
  await expectClose(await open(uri), 1000);
  await expectClose(await open(uri.replace(/token=.*/, `token=${'0'.repeat(64)}`)), 1000);
  await tell('the first is not disturbed');
  await expectMessage(first, 'the first is not disturbed');
}

// Says that the server may go, and hears it say goodbye.
async function checkGoodbye(listeners) {
  process.stdout.write('stop the server\n');
  for (const listener of listeners) assert.equal(await expectClose(listener, 1001), 'going away');
}

report(async () => {
  const listeners = await checkMessages();
  await checkFragments(listeners);
  await checkPings(listeners[1]);
  await checkClientCloses();
  await checkServerCloses();
  await checkBadAddresses();
  await checkGoodbye(listeners);
  return { texts: TEXTS.length };
});
