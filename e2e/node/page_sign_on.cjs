'use strict';
// People sign in at the console with accounts at published providers, in a real browser.

const assert = require('node:assert/strict');
const path = require('node:path');
const { withBrowser } = require('./browser.cjs');
const { report, given } = require('./report.cjs');

const base = given('ADDRESS');
const pictures = given('PICTURES');
const WAIT_MS = 15_000;

// A browser in which nobody has signed in anywhere.
async function newVisitor(browser, settings = {}) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const complaints = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy|Refused/.test(message.text())) {
      complaints.push(message.text());
    }
  });
  return { context, page, complaints };
}

async function picture(page, name) {
  await page.screenshot({ path: path.join(pictures, `sign-on-${name}.png`), fullPage: true });
}

// Signs in at a provider whose page is open, and agrees.
async function agreeAs(page, login) {
  await page.locator('input[name=login]').fill(login);
  await page.locator('input[name=password]').fill('anything');
  await page.locator('button[type=submit]').click();
  await page.getByRole('button', { name: 'Continue' }).click();
}

async function signOn(page, provider, login) {
  await page.goto(`${base}/console/sign-in`);
  await page.getByRole('link', { name: `Sign in with ${provider}` }).click();
  if (login) await agreeAs(page, login);
}

async function signOut(page) {
  await page.getByRole('button', { name: 'Sign out', exact: true }).first().click();
  await page.waitForURL('**/console/sign-in**');
}

async function expectProfile(page, email) {
  await page.waitForURL('**/console/profile**');
  await page.locator('#person').getByText(email).waitFor();
}

// The cookie that waits while somebody is away.
async function waiting(context) {
  const cookies = await context.cookies(base);
  return cookies.find(({ name }) => name === '__Host-pilvi-sign-on');
}

async function main() {
  return withBrowser(async (browser) => {
    // Bob is new. He comes back as the same person, also by the other providers, which vouch for the same address.
    const bob = await newVisitor(browser);
    await bob.page.goto(`${base}/console/sign-in`);
    await picture(bob.page, 'offered');
    await signOn(bob.page, 'rs256', 'bob');
    await expectProfile(bob.page, 'bob@example.org');
    assert.equal(await waiting(bob.context), undefined, 'nothing waits any more');
    const session = (await bob.context.cookies(base)).find(({ name }) => name === '__Host-pilvi');
    assert.ok(session.httpOnly && session.secure && session.sameSite === 'Strict');
    await signOut(bob.page);
    await signOn(bob.page, 'rs256');
    await expectProfile(bob.page, 'bob@example.org');
    for (const provider of ['es256', 'eddsa', 'ps256']) {
      await signOut(bob.page);
      await signOn(bob.page, provider, 'bob');
      await expectProfile(bob.page, 'bob@example.org');
    }
    assert.equal(await bob.page.locator('#identities li').count(), 4);
    await picture(bob.page, 'linked');

    // The last way in stays, because he has no password; the others go.
    for (let left = 4; left > 1; left -= 1) {
      await bob.page.getByRole('button', { name: 'Unlink' }).first().click();
      await bob.page.getByText('It is unlinked').waitFor();
    }
    await bob.page.getByRole('button', { name: 'Unlink' }).click();
    await bob.page.getByText('only way in that is left').waitFor();
    await picture(bob.page, 'last-way');

    // Mallory says there that the operator's address is hers.
    const mallory = await newVisitor(browser);
    await signOn(mallory.page, 'rs256', 'mallory');
    await mallory.page.getByText('does not say that your e-mail address is verified').waitFor();
    await picture(mallory.page, 'unverified');
    await mallory.page.goto(`${base}/console/profile`);
    await mallory.page.waitForURL('**/console/sign-in**');

    // Somebody changes their mind there.
    const unsure = await newVisitor(browser);
    await signOn(unsure.page, 'rs256');
    await unsure.page.getByRole('link', { name: 'Cancel' }).click();
    await unsure.page.getByText('The sign-in at rs256 was cancelled').waitFor();

    // The operator signs in by password, links Anna's account, and signs in by it from then on.
    const operator = await newVisitor(browser);
    await operator.page.goto(`${base}/console/sign-in`);
    await operator.page.getByLabel('E-mail address').fill(given('VICTIM'));
    await operator.page.getByLabel('Password').fill(given('PASSWORD'));
    await operator.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await expectProfile(operator.page, given('VICTIM'));
    await operator.page.getByRole('button', { name: 'Link rs256' }).click();
    await agreeAs(operator.page, 'anna');
    await operator.page.getByRole('heading', { name: 'Link rs256?' }).waitFor();
    await operator.page.getByText('anna@example.org').waitFor();
    await picture(operator.page, 'link');
    await operator.page.getByRole('button', { name: 'Link it' }).click();
    await operator.page.getByText('It is linked').waitFor();
    assert.equal(await waiting(operator.context), undefined);
    await signOut(operator.page);
    await signOn(operator.page, 'rs256');
    await expectProfile(operator.page, given('VICTIM'));

    // An address that somebody else went back to: a stranger's, and one that was used.
    const callbacks = [];
    operator.page.on('request', (request) => {
      if (request.url().includes('/callback?')) callbacks.push(request.url());
    });
    await signOut(operator.page);
    await signOn(operator.page, 'rs256');
    await expectProfile(operator.page, given('VICTIM'));
    assert.equal(callbacks.length, 1);
    const victim = await newVisitor(browser);
    for (const page of [operator.page, victim.page]) {
      const reply = await page.goto(callbacks[0]);
      assert.equal(reply.status(), 400);
      await page.getByText('not started in this browser').waitFor();
    }
    await victim.page.goto(`${base}/console/profile`);
    await victim.page.waitForURL('**/console/sign-in**');

    // On a phone, in the dark.
    const phone = await newVisitor(browser, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
    await phone.page.goto(`${base}/console/sign-in`);
    await picture(phone.page, 'phone');
    const fits = await phone.page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
    assert.ok(fits, 'nothing sticks out');

    for (const { complaints } of [bob, mallory, unsure, operator, victim, phone]) assert.deepEqual(complaints, []);
    return { signedOn: 8 };
  });
}

report(main);
