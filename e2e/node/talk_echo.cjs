'use strict';
// The echo server behind the router: `PINGING` is the host of an app whose server pings, `SILENT` of one that does not.
// Nothing of ours is said on their sockets for longer than the router puts up with.

const assert = require('node:assert/strict');
const { report, given } = require('./report.cjs');
const { open } = require('./apps.cjs');

const LIMIT_MS = Number(given('IDLE_SECONDS')) * 1000;
// By how much a cut may come late: the router looks around only now and then, and the machine is busy.
const LATE_MS = 5000;

async function checkEcho(address) {
  const { socket, messages, closed } = await open(address);
  socket.send('Grüße, 世界');
  assert.equal(await messages.text(), 'Grüße, 世界');
  for (const bytes of [Buffer.from([0, 255, 10, 13]), Buffer.alloc(100_000, 7)]) {
    socket.send(bytes);
    const [echo, isBinary] = await messages.next();
    assert.ok(isBinary);
    assert.deepEqual(echo, bytes);
  }
  socket.close(1000);
  assert.equal(await closed, 1000);
}

// The server's pings, and the answers that every client gives unasked, keep it alive.
async function checkKept(address) {
  const { socket, messages, closed } = await open(address);
  let pings = 0;
  socket.on('ping', () => { pings += 1; });
  assert.equal(await pastTheLimit(closed), 'open');
  assert.ok(pings > 0, 'the server pings');
  socket.send('still here');
  assert.equal(await messages.text(), 'still here');
  socket.close(1000);
  assert.equal(await closed, 1000);
}

// What is true of a socket when more time has passed than the router puts up with.
function pastTheLimit(closed) {
  let timer;
  const open = new Promise((resolve) => { timer = setTimeout(() => resolve('open'), 1.5 * LIMIT_MS); });
  return Promise.race([closed, open]).finally(() => clearTimeout(timer));
}

// Without a ping in either direction the router ends it, and neither too early nor too late.
async function checkCut(address) {
  const { closed } = await open(address);
  const opened = Date.now();
  const code = await closed;
  const after = Date.now() - opened;
  assert.equal(code, 1006, 'the end comes from between: nobody said goodbye');
  assert.ok(after >= LIMIT_MS - 100, `cut after ${after} ms`);
  assert.ok(after <= LIMIT_MS + LATE_MS, `cut after ${after} ms`);
}

// A client's own pings count as well.
async function checkKeptByClient(address) {
  const { socket, messages, closed } = await open(address);
  const pinging = setInterval(() => socket.ping(), LIMIT_MS / 4);
  assert.equal(await pastTheLimit(closed), 'open');
  clearInterval(pinging);
  socket.send('me too');
  assert.equal(await messages.text(), 'me too');
  socket.close(1000);
  await closed;
}

report(async () => {
  const [pinging, silent] = [given('PINGING'), given('SILENT')];
  const secure = given('SECURE_PORT');
  const plain = given('PLAIN_PORT');
  await checkEcho(`ws://${pinging}:${plain}/`);
  await checkEcho(`wss://${pinging}:${secure}/any/path?and=query`);
  await Promise.all([
    checkKept(`wss://${pinging}:${secure}/`),
    checkKept(`ws://${pinging}:${plain}/`),
    checkCut(`wss://${silent}:${secure}/`),
    checkCut(`ws://${silent}:${plain}/`),
    checkKeptByClient(`wss://${silent}:${secure}/`),
  ]);
  return { echoed: 6 };
});
