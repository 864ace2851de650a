'use strict';

const http = require('node:http');
const escape = require('escape-html');

const server = http.createServer((request, response) => {
  const name = new URL(request.url, 'http://localhost').searchParams.get('name') || 'world';
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.end(`<h1>Hello, ${escape(name)}, from Node.js</h1>\n`);
});

server.listen(process.env.PORT || 5000, () => console.log(`Listening on port ${server.address().port}`));
// The platform asks a process to stop with SIGTERM; what is under way is answered first.
process.on('SIGTERM', () => server.close(() => process.exit(0)));
