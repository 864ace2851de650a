'use strict';
// Chromium's own WebSocket on a string. A page cannot ping.

const { chromium } = require('playwright-core');
const { given } = require('./report.cjs');
const { tell, mark, letters, obey } = require('./puppet.cjs');

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  // An empty page is nobody's, and may otherwise not talk to this machine.
  '--disable-features=LocalNetworkAccessChecks',
];

// In the page. What arrives is handed over in hex: a page has no Buffer.
function openInPage(uri) {
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const socket = new WebSocket(uri);
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => window.heard('open', socket.extensions || '-');
  socket.onmessage = ({ data }) => {
    if (typeof data === 'string') window.heard('text', hex(new TextEncoder().encode(data)));
    else window.heard('binary', hex(new Uint8Array(data)));
  };
  socket.onclose = ({ code, reason }) => window.heard('closed', `${code} ${reason}`);
  window.socket = socket;
}

async function main() {
  const browser = await chromium.launch({ executablePath: given('CHROMIUM'), args: FLAGS, timeout: 60_000 });
  // The CA is ours, and no machine's.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.exposeFunction('heard', (what, value) => {
    const isMessage = what === 'text' || what === 'binary';
    tell(`${what} ${isMessage ? mark(Buffer.from(value, 'hex')) : value}`);
  });
  await page.goto('about:blank');
  tell('ready');
  await obey({
    open: (uri) => page.evaluate(openInPage, uri),
    say: (hex) => page.evaluate((text) => window.socket.send(text), Buffer.from(hex, 'hex').toString()),
    'say-long': (count) => page.evaluate((text) => window.socket.send(text), letters(Number(count))),
    send: (hex) => page.evaluate((bytes) => window.socket.send(new Uint8Array(bytes)), [...Buffer.from(hex, 'hex')]),
    close: (code, reason) => page.evaluate(([number, text]) => window.socket.close(number, text), [Number(code), reason]),
  });
  await browser.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
