'use strict';
// Somebody decides in a real browser whether programs may sign in as them. The test in Rust is the programs: it says
// what to open, and hears how the page has ended.

const assert = require('node:assert/strict');
const path = require('node:path');
const readline = require('node:readline');
const { withBrowser } = require('./browser.cjs');
const { report, given } = require('./report.cjs');

const base = given('ADDRESS');
const pictures = given('PICTURES');
const WAIT_MS = 15_000;

async function picture(page, name) {
  await page.screenshot({ path: path.join(pictures, `device-${name}.png`), fullPage: true });
}

async function fits(page) {
  return page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
}

async function signIn(page) {
  await page.getByLabel('E-mail address').fill(given('EMAIL'));
  await page.getByLabel('Password').fill(given('PASSWORD'));
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  // The next sign-in that waits: its address, its code, and what the program calls itself.
  const next = async (done) => {
    process.stdout.write(`${done}\n`);
    return JSON.parse((await lines.next()).value);
  };
  return withBrowser(async (browser) => {
    const context = await browser.newContext({ reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);

    // By the address with the code in it, and not signed in yet.
    const first = await next('begin');
    await page.goto(first.complete);
    await page.waitForURL('**/console/sign-in**');
    await signIn(page);
    await page.getByRole('heading', { name: 'Sign in this program?' }).waitFor();
    assert.equal(await page.locator('#user-code').textContent(), first.code);
    assert.equal(await page.locator('#client').textContent(), first.client);
    assert.match(await page.locator('#from').textContent(), /^127\.0\.0\.1, where you are, too$/);
    assert.ok(await fits(page));
    await picture(page, 'question');

    // Looking decides nothing, and neither does a form on somebody else's page.
    const elsewhere = await browser.newContext({ storageState: await context.storageState() });
    const stranger = await elsewhere.newPage();
    stranger.setDefaultTimeout(WAIT_MS);
    await stranger.goto(`${base.replace('127.0.0.1', 'localhost')}/v1/ping`);
    await stranger.setContent(`<form method="post" action="${base}/console/device/decide">
      <input name="user_code" value="${first.code}"><input name="decision" value="approve"><button>Win</button></form>`);
    await stranger.getByRole('button').click();
    // The browser keeps the session's cookie from it.
    await stranger.waitForURL('**/console/sign-in**');
    const looked = await next('looked at');
    assert.equal(looked.client, first.client);

    await page.getByRole('button', { name: 'Sign it in' }).click();
    await page.getByText(`${first.client} is signed in as you`).waitFor();
    await picture(page, 'approved');

    // By hand, in small letters and without the hyphen; denied.
    const second = await next('approved');
    await page.goto(`${base}/console/device`);
    await picture(page, 'by-hand');
    await page.getByLabel('The code').fill('bcdfghjk');
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.getByText('No program waits with this code').waitFor();
    await page.getByLabel('The code').fill(second.code.toLowerCase().replace('-', ''));
    await page.getByRole('button', { name: 'Go on' }).click();
    assert.equal(await page.locator('#client').textContent(), second.client);
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.getByText('It was denied').first().waitFor();

    // A decision is made once.
    await page.goto(second.complete);
    await page.getByText('No program waits with this code').waitFor();

    // On a phone, in the dark, by somebody who wonders who asks from where.
    const third = await next('denied');
    const phone = await browser.newContext({
      storageState: await context.storageState(), viewport: { width: 360, height: 740 }, colorScheme: 'dark',
    });
    const small = await phone.newPage();
    small.setDefaultTimeout(WAIT_MS);
    await small.goto(third.complete);
    await small.getByRole('heading', { name: 'Sign in this program?' }).waitFor();
    assert.ok(await fits(small));
    await picture(small, 'phone');
    return { decided: 2 };
  });
}

report(main);
