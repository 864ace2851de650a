'use strict';
// Two windows: what one adds, ticks and deletes, the other shows.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { report } = require('./report.cjs');
const { withBrowser, Window, gateway, eventually } = require('./browser.cjs');

const MARKUP = '<img src=x onerror=alert(1)> & "so on"';

async function checkTwoWindows(first, second) {
  await first.add('Bring milk');
  await second.shows(['Bring milk']);
  await first.shows(['Bring milk']);
  assert.equal(await first.focused(), 'title', 'the next todo can be typed at once');
  assert.equal(await first.page.getByLabel('New todo').inputValue(), '');

  await second.box('Bring milk').check();
  await first.shows(['x Bring milk']);
  await second.add(MARKUP);
  await first.shows([MARKUP, 'x Bring milk']);
  await first.page.getByText('1 of 2 open').waitFor();

  // By keyboard alone: from the field to the first row, over its button to the second.
  await first.page.getByLabel('New todo').focus();
  for (let step = 0; step < 2; step += 1) await first.page.keyboard.press('Tab');
  await first.page.keyboard.press('Space');
  await second.shows([`x ${MARKUP}`, 'x Bring milk']);
  await first.page.keyboard.press('Tab');
  assert.equal(await first.focused(), `Delete ${MARKUP}`);
  await first.page.keyboard.press('Enter');
  await second.shows(['x Bring milk']);
  await first.shows(['x Bring milk']);
  assert.equal(await first.focused(), 'Delete Bring milk', 'the keyboard goes on at the next row');
  await first.page.keyboard.press('Enter');
  for (const window of [first, second]) {
    await window.shows([]);
    await window.page.getByText('Nothing to do.').waitFor();
    await window.heard([
      'delete Bring milk',
      `delete ${MARKUP}`,
      `update ${MARKUP}`,
      `create ${MARKUP}`,
      'update Bring milk',
      'create Bring milk',
    ]);
  }
  assert.equal(await first.focused(), 'title');
}

// Each window knows what it caused itself, and shows the newest message whole.
async function checkMessages(first, second) {
  const sources = async ({ page }) => (await page.locator('#messages .source').allTextContents())
    .map((text) => text.replace(/\d+ ms/, 'N ms'));
  const [own, other] = ['from this window, N ms', 'from elsewhere'];
  assert.deepEqual(await sources(first), [own, own, own, other, other, own]);
  assert.deepEqual(await sources(second), [other, other, other, own, own, other]);
  const whole = JSON.parse(await first.page.locator('#messages details[open] pre').innerText());
  assert.deepEqual(Object.keys(whole), ['object', 'meta']);
  assert.equal(whole.meta.eventName, 'delete');
}

// Everybody may send to a socket; only what is about a todo changes the list.
async function checkForeignMessages(window) {
  const before = await window.page.locator('#messages summary').count();
  const foreign = [
    'Hello World!',
    'null',
    '[1, 2]',
    '{"object":null,"meta":null}',
    '{"object":{"objectType":"objects.todos"},"meta":{"eventName":"create"}}',
    '{"object":{"objectType":"objects.todos","id":"x","updatedAt":"2014"},"meta":{"eventName":"rename"}}',
    '{"object":{"objectType":"objects.notes","id":"y","updatedAt":"2014"},"meta":{"eventName":"create"}}',
  ];
  for (const text of foreign) await gateway.tell(text);
  await eventually(() => window.page.locator('#messages summary').count(), before + foreign.length, 'messages');
  await window.add('Still here');
  await window.shows(['Still here']);
}

// What the server refuses is told, and taken back.
async function checkRefusal(window) {
  window.outage = true;
  const refusal = { errors: [{ message: 'not today', reason: 'BadRequest' }] };
  await window.page.route('**/v1/objects/todos/*', (route) => route.fulfill({ status: 400, json: refusal }), { times: 1 });
  await window.box('Still here').click();
  await window.page.getByRole('alert').getByText('That did not work: not today').waitFor();
  await window.shows(['Still here']);
  window.outage = false;
  await window.box('Still here').check();
  await window.page.getByRole('alert').waitFor({ state: 'hidden' });
}

// The line that an empty page shows to those who have a shell works as it stands.
async function checkShell(window) {
  const line = await window.page.locator('#shell').textContent();
  const answer = JSON.parse(execFileSync('sh', ['-c', line], { stdio: ['ignore', 'pipe', 'ignore'] }));
  assert.equal(answer.title, 'Bring milk');
  await window.shows(['Bring milk', 'x Still here']);
}

async function checkSecondWindow(window) {
  const opened = window.page.waitForEvent('popup');
  await window.page.getByRole('link', { name: 'Open a second window' }).click();
  const second = new Window(await opened);
  await second.connected();
  await second.shows(['Bring milk', 'x Still here']);
  second.expectSilence();
}

report(() => withBrowser(async (browser) => {
  const windows = [await Window.open(browser), await Window.open(browser)];
  for (const window of windows) await window.connected();
  await checkTwoWindows(...windows);
  await checkMessages(...windows);
  await checkForeignMessages(windows[0]);
  await checkRefusal(windows[0]);
  await checkShell(windows[0]);
  await checkSecondWindow(windows[0]);
  windows.forEach((window) => window.expectSilence());
  return { windows: windows.length };
}));
