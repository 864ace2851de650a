'use strict';
// The relay: a page at /, a WebSocket for pages at /channel, and one for the publisher at /publish.
//
// PORT           where to listen, 8080 if it is not set
// RELAY_SECRET   what the publisher must show
// PING_INTERVAL  seconds between two pings, 50 if it is not set: the router cuts what is silent for 60 s

const crypto = require('node:crypto');
const http = require('node:http');
const { WebSocketServer } = require('ws');
const { serveFile } = require('./files');
const { Relay } = require('./relay');

// WebChannel describes whole objects in one message.
const MESSAGE_BYTES_MAX = 1 << 20;
const GOING_AWAY = 1001;

function number(name, usual) {
  const value = Number(process.env[name] ?? usual);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number.`);
  return value;
}

// Takes the same time wherever the two differ.
function isSame(given, expected) {
  const digest = (text) => crypto.createHash('sha256').update(text).digest();
  return crypto.timingSafeEqual(digest(given), digest(expected));
}

// Pings everybody, and lets go of those who did not answer the ping before.
function keepAlive(server, seconds) {
  const silent = new WeakSet();
  server.on('connection', (socket) => socket.on('pong', () => silent.delete(socket)));
  if (seconds === 0) return;
  setInterval(() => {
    for (const socket of server.clients) {
      if (silent.has(socket)) {
        socket.terminate();
      } else {
        silent.add(socket);
        socket.ping();
      }
    }
  }, seconds * 1000).unref();
}

function refuse(socket, status) {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

function start() {
  const secret = process.env.RELAY_SECRET;
  if (!secret) throw new Error('RELAY_SECRET is missing. Set it with: pilvi mar envs set RELAY_SECRET=…');
  const relay = new Relay();
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_BYTES_MAX });
  keepAlive(sockets, number('PING_INTERVAL', 50));

  const server = http.createServer(serveFile);
  server.on('upgrade', (request, socket, head) => {
    const { pathname } = new URL(request.url, 'http://relay');
    const accept = (welcome) => sockets.handleUpgrade(request, socket, head, (accepted) => {
      // A broken connection is told by its end, too.
      accepted.on('error', () => {});
      sockets.emit('connection', accepted);
      welcome(accepted);
    });
    if (pathname === '/channel') return accept((page) => relay.join(page));
    if (pathname !== '/publish') return refuse(socket, '404 Not Found');
    if (!isSame(request.headers.authorization ?? '', `Bearer ${secret}`)) return refuse(socket, '401 Unauthorized');
    return accept((publisher) => relay.publish(publisher));
  });
  server.listen(number('PORT', 8080), () => console.log(`webchannel-relay listens on port ${server.address().port}`));
  process.once('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    for (const socket of sockets.clients) socket.close(GOING_AWAY, 'the relay is stopping');
  });
}

try {
  start();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
