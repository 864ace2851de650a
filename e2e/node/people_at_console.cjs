'use strict';
// What the scripts at the console share: browsers, and the mails that the server writes into a folder.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { eventually } = require('./browser.cjs');
const { given } = require('./report.cjs');

const WAIT_MS = 15_000;

// A browser in which nobody has signed in. Scripts are off unless they are asked for: the pages need none.
async function newVisitor(browser, settings = {}) {
  const context = await browser.newContext({ javaScriptEnabled: false, reducedMotion: 'reduce', ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const complaints = [];
  page.on('console', (message) => {
    // A page that is refused says so by its status, which the browser repeats.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  const field = (label) => page.getByLabel(label, { exact: true });
  return {
    context,
    page,
    complaints,
    field,
    // Fills in what is labelled so, and presses the button.
    async send(button, values) {
      for (const [label, value] of Object.entries(values)) await field(label).fill(value);
      await page.getByRole('button', { name: button, exact: true }).click();
    },
    // Opens what is folded away under this title.
    unfold(title) {
      return page.locator('summary', { hasText: title }).click();
    },
    async says(text) {
      await page.getByText(text).first().waitFor();
    },
    async signOut() {
      await page.locator('header').getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL('**/console/sign-in**');
    },
    cookie: async (name) => (await context.cookies(page.url())).find((cookie) => cookie.name === name),
  };
}

function mailsTo(address) {
  const folder = given('MAILS');
  if (!fs.existsSync(folder)) return [];
  return fs.readdirSync(folder)
    .filter((name) => name.endsWith('.eml'))
    .sort()
    .map((name) => fs.readFileSync(path.join(folder, name), 'utf8'))
    .filter((mail) => mail.includes(`To: ${address}\r\n`));
}

// The newest mail to an address with this text in it, once it is there.
async function mailTo(address, text) {
  await eventually(async () => mailsTo(address).some((mail) => mail.includes(text)), true, `a mail with ${text}`);
  return mailsTo(address).findLast((mail) => mail.includes(text));
}

// The address of a page in a mail.
function linkIn(mail, page) {
  const found = mail.match(new RegExp(`^ +(\\S+/console/${page}\\?code=[0-9a-f]{32})\r?$`, 'm'));
  assert.ok(found, `there is a link to ${page} in ${mail}`);
  return found[1];
}

module.exports = { newVisitor, mailTo, mailsTo, linkIn };
