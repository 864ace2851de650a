'use strict';
// npm `ws` on a string.

const WebSocket = require('ws');
const { tell, mark, letters, obey } = require('./puppet.cjs');

let socket;

function open(uri) {
  socket = new WebSocket(uri);
  const mine = socket;
  socket.on('open', () => tell(`open ${mine.extensions || '-'}`));
  socket.on('message', (data, isBinary) => tell(`${isBinary ? 'binary' : 'text'} ${mark(data)}`));
  socket.on('pong', (payload) => tell(`pong ${payload}`));
  socket.on('close', (code, reason) => tell(`closed ${code} ${reason}`));
  socket.on('error', (error) => process.stderr.write(`${error}\n`));
}

obey({
  open,
  say: (hex) => socket.send(Buffer.from(hex, 'hex').toString()),
  'say-long': (count) => socket.send(letters(Number(count))),
  send: (hex) => socket.send(Buffer.from(hex, 'hex')),
  ping: (payload) => socket.ping(payload),
  close: (code, reason) => socket.close(Number(code), reason),
}).then(() => process.exit(0));
