'use strict';
// The page and what it loads. Nothing else is served, whatever is asked for.

const fs = require('node:fs');
const path = require('node:path');

const TYPES = { '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript' };

function file(name) {
  return { body: fs.readFileSync(name), type: `${TYPES[path.extname(name)]}; charset=utf-8` };
}

const own = (name) => file(path.join(__dirname, 'public', name));

const FILES = new Map([
  ['/', own('index.html')],
  ['/page.css', own('page.css')],
  ['/page.js', own('page.js')],
  // From the package that npm has put there, so that it is always the one that the lock file names.
  ['/qwebchannel.js', file(require.resolve('qwebchannel'))],
]);

function serveFile(request, response) {
  const found = FILES.get(new URL(request.url, 'http://relay').pathname);
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (!found || !isRead) {
    response.writeHead(found ? 405 : 404, { 'Content-Type': 'text/plain' });
    return response.end('There is nothing here.\n');
  }
  response.writeHead(200, {
    'Content-Type': found.type,
    'Content-Length': found.body.length,
    'Content-Security-Policy': "default-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-cache',
  });
  return response.end(request.method === 'HEAD' ? undefined : found.body);
}

module.exports = { serveFile };
