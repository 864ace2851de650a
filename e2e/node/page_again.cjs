'use strict';
// A window whose socket is closed, and one whose server goes, come back by themselves and miss nothing.

const readline = require('node:readline');
const { report, Inbox } = require('./report.cjs');
const { withBrowser, Window, gateway, todos } = require('./browser.cjs');

async function checkClosedSocket(window) {
  const stays = await todos.create('stays');
  const goes = await todos.create('goes');
  await window.shows(['goes', 'stays']);

  const uri = await window.hold('/v1/gateways/');
  await gateway.hangUp();
  await uri.asked();
  await todos.remove(goes);
  await todos.update(stays, { completed: true });
  await todos.create('new');
  await window.shows(['goes', 'stays']);

  uri.release();
  await window.shows(['new', 'x stays']);
  await window.connected();
  window.expectSilence();
}

// The Rust side has another demo under the same address, with other instances and no todos.
async function checkRestart(window) {
  const said = new Inbox(readline.createInterface({ input: process.stdin }), 'line');
  window.outage = true;
  process.stdout.write('stop the server\n');
  await said.next();
  await window.page.getByRole('status').filter({ hasText: /^(Not connected, trying again|Connecting)$/ }).waitFor();
  process.stdout.write('start another\n');
  await said.next();
  await window.connected();
  await window.page.getByText('Nothing to do.').waitFor();
  await window.shows([]);
  window.outage = false;

  await window.add('On the new server');
  await window.shows(['On the new server']);
  window.expectSilence();
}

report(() => withBrowser(async (browser) => {
  const window = await Window.open(browser);
  await window.connected();
  await checkClosedSocket(window);
  await checkRestart(window);
  return { connections: 3 };
}));
