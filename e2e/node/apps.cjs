'use strict';
// What the scripts about apps share: an app's name below `localhost`, which Node does not know by itself.

const http = require('node:http');
const WebSocket = require('ws');
const { inTime, given, Inbox } = require('./report.cjs');

// Every name is the server's: what the system of a developer would say.
function lookup(name, options, done) {
  const address = given('SERVER_ADDRESS');
  if (options.all) done(null, [{ address, family: 4 }]);
  else done(null, address, 4);
}

// Opens a WebSocket and says what comes of it: its messages in an inbox, and its end.
async function open(address, options = {}) {
  const socket = new WebSocket(address, { lookup, ...options });
  const messages = new Inbox(socket, 'message');
  const closed = new Promise((resolve) => { socket.on('close', resolve); });
  await inTime(`${address} to open`, new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return { socket, messages, closed };
}

// A request to an app; resolves with the status and the parsed body.
function request(method, address, { headers = {}, body } = {}) {
  return inTime(`${method} ${address}`, new Promise((resolve, reject) => {
    const asked = http.request(address, { method, headers, lookup }, (reply) => {
      const pieces = [];
      reply.on('data', (piece) => pieces.push(piece));
      reply.on('end', () => {
        const text = Buffer.concat(pieces).toString();
        try {
          resolve({ status: reply.statusCode, body: JSON.parse(text) });
        } catch {
          reject(new Error(`${method} ${address}: ${reply.statusCode} ${text}`));
        }
      });
    });
    asked.on('error', reject);
    asked.end(body);
  }));
}

module.exports = { open, request };
