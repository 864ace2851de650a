'use strict';
// The app: two routes, one for users and one for the data service.
//
//     POST /sockets   with a user's access token: the address of a WebSocket that hears what this user may read
//     POST /webhook   what the data service tells of every change, passed on to those who may read it

const crypto = require('node:crypto');
const http = require('node:http');
const { Refused } = require('./calls');
const { settings } = require('./settings');
const { Sockets } = require('./sockets');

// An object of the data service has at most 1 MiB; an event carries it with a little more.
const BODY_BYTES_MAX = 2 << 20;

// Something that a caller did wrong.
class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function bearer(request) {
  return /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
}

// Takes the same time wherever the two differ.
function isSame(given, expected) {
  const digest = (text) => crypto.createHash('sha256').update(text).digest();
  return crypto.timingSafeEqual(digest(given), digest(expected));
}

async function json(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) throw new Fault(413, 'The body is too large.');
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString());
  } catch {
    throw new Fault(400, 'The body is not JSON.');
  }
}

async function openSocket(sockets, request) {
  const token = bearer(request);
  if (!token) throw new Fault(401, 'Send the access token of a user: Authorization: Bearer TOKEN.');
  try {
    return [201, await sockets.open(token)];
  } catch (error) {
    if (error instanceof Refused && error.status === 401) throw new Fault(401, 'The data service does not know this token.');
    throw error;
  }
}

async function passOn(sockets, secret, request) {
  if (!isSame(bearer(request), secret)) throw new Fault(401, 'This is not the secret of the webhook.');
  const event = await json(request);
  if (!event?.payload || !Array.isArray(event.receivers)) throw new Fault(422, 'An event has a payload and receivers.');
  await sockets.tell(event);
  return [200, {}];
}

async function answer(sockets, secret, request) {
  const { pathname } = new URL(request.url, 'http://app');
  const what = `${request.method} ${pathname}`;
  if (what === 'GET /') return [200, { name: 'private-sockets' }];
  if (what === 'POST /sockets') return openSocket(sockets, request);
  if (what === 'POST /webhook') return passOn(sockets, secret, request);
  throw new Fault(404, `There is no ${what}.`);
}

// What is not the caller's fault is logged; a status of 502 lets the webhook be tried again.
function refusal(error) {
  if (error instanceof Fault) return [error.status, { error: { message: error.message } }];
  console.error(error.message);
  return [502, { error: { message: 'A service behind this app did not do its part. Try again.' } }];
}

function start() {
  const given = settings(process.env);
  const sockets = new Sockets(given);
  const server = http.createServer((request, response) => {
    answer(sockets, given.WEBHOOK_SECRET, request).catch(refusal).then(([status, body]) => {
      const text = JSON.stringify(body);
      response.writeHead(status, {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
        // The address of a socket is a secret.
        'Cache-Control': 'no-store',
      });
      response.end(text);
    });
  });
  server.listen(given.PORT, () => console.log(`private-sockets listens on port ${server.address().port}`));
  process.once('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

try {
  start();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
