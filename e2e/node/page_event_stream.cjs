'use strict';
// Chromium's own EventSource, on a page of another site: over HTTP/1, where six streams are all that a page gets, and over
// HTTP/2, where many share a connection with the page's other requests.

const assert = require('node:assert/strict');
const http = require('node:http');
const { chromium } = require('playwright-core');
const { report, inTime, given } = require('./report.cjs');

const WAIT_MS = 15_000;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
const STREAMS = { h1: 3, h2: 12 };
const protocol = given('PROTOCOL');
const gateway = `${given('ADDRESS')}/v1/gateways/${given('GATEWAY_ID')}`;
const asOwner = { Authorization: `Bearer ${given('TOKEN')}` };

async function request(method, path, headers = {}, body) {
  const answer = await inTime(`${method} ${path}`, fetch(gateway + path, { method, headers, body }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

const tell = (data) => request('POST', '/messages', {}, JSON.stringify({ data, receivers: { sockets: ['*'], tags: null } }));

// A site that has nothing to do with the server.
async function elsewhere() {
  const site = http.createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html>'));
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${site.address().port}/`;
}

// In the page: opens a stream with an address that the page asks for itself, and keeps what it hears.
async function openInPage([gateway, withCredentials]) {
  const { uri } = await (await fetch(`${gateway}/websocket_uri`)).json();
  const url = uri.replace(/^ws/, 'http');
  const source = new EventSource(url, { withCredentials });
  const stream = { url, source, heard: [], ends: [], failed: 0 };
  window.streams = [...(window.streams ?? []), stream];
  source.onmessage = ({ data, lastEventId }) => stream.heard.push([data, lastEventId]);
  source.addEventListener('close', ({ data }) => stream.ends.push(JSON.parse(data)));
  source.onerror = () => (stream.failed += 1);
  await new Promise((resolve, reject) => {
    source.onopen = resolve;
    setTimeout(() => reject(new Error('the stream does not open')), 10_000);
  });
}

// Waits in the page for as many messages on every stream, and returns them.
async function heard(page, count) {
  await page.waitForFunction((count) => window.streams.every(({ heard }) => heard.length >= count), count, { timeout: WAIT_MS });
  return page.evaluate(() => window.streams.map(({ heard }) => heard));
}

report(async () => {
  const browser = await chromium.launch({ executablePath: given('CHROMIUM'), args: FLAGS, timeout: 4 * WAIT_MS });
  // The CA is ours, and no machine's.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(await elsewhere());
  for (let count = 0; count < STREAMS[protocol]; count += 1) await page.evaluate(openInPage, [gateway, count % 2 === 0]);

  const texts = ['one', 'two\nlines', 'Grüße 🎈'];
  for (const text of texts) await tell(text);
  const [first, ...others] = await heard(page, texts.length);
  assert.deepEqual(first.map(([data]) => data), texts);
  for (const other of others) assert.deepEqual(other, first);
  const used = await page.evaluate(() => {
    const entries = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/websocket_uri'));
    return entries.map(({ nextHopProtocol }) => nextHopProtocol);
  });
  // A page of another site is not told; where it is, it is what was asked for.
  for (const name of used) assert.ok(['', protocol === 'h2' ? 'h2' : 'http/1.1'].includes(name), name);

  // A stream that the server ends comes back once, is told that its address is used up, and stays away.
  const { results } = await request('GET', '/sockets', asOwner);
  assert.equal(results.length, STREAMS[protocol]);
  for (const { id } of results) await request('DELETE', `/sockets/${id}`, asOwner);
  await page.waitForFunction(() => window.streams.every(({ source }) => source.readyState === EventSource.CLOSED), null, { timeout: WAIT_MS });
  const ends = await page.evaluate(() => window.streams.map(({ ends, failed }) => [ends, failed]));
  for (const end of ends) assert.deepEqual(end, [[{ code: 1000, reason: '' }], 2]);

  // Why, can be read by whoever asks with fetch.
  const [status, reason] = await page.evaluate(async () => {
    const answer = await fetch(window.streams[0].url, { headers: { Accept: 'text/event-stream', 'Last-Event-ID': '7' } });
    return [answer.status, (await answer.json()).error.reason];
  });
  assert.deepEqual([status, reason], [410, 'Gone']);
  await browser.close();
  return { streams: STREAMS[protocol] };
});
