'use strict';
// npm `ws` at an address that somebody else asked for: says when it is open, and ends with what it heard.

const assert = require('node:assert/strict');
const WebSocket = require('ws');
const { report, inTime, given, Inbox } = require('./report.cjs');

report(async () => {
  const socket = new WebSocket(given('URI'));
  const messages = new Inbox(socket, 'message');
  await inTime('the socket to open', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  process.stdout.write('open\n');
  const heard = [];
  for (let count = Number(given('COUNT')); count > 0; count -= 1) {
    const [data, isBinary] = await messages.next();
    assert.equal(isBinary, false);
    heard.push(String(data));
  }
  socket.close();
  return heard;
});
