'use strict';
// Somebody comes to the console for the first time, in a real browser: signs up, confirms the address, signs in, makes a
// token that published clients use, forgets the password, and is not let in by guessing.

const assert = require('node:assert/strict');
const { Platform } = require('qtc');
const { withBrowser, eventually } = require('./browser.cjs');
const { newVisitor, mailTo, mailsTo, linkIn } = require('./people_at_console.cjs');
const { report, call, given } = require('./report.cjs');

const base = given('ADDRESS');
const EMAIL = 'anna@example.org';
const PASSWORD = 'seven small cranes';
const NEW_PASSWORD = 'eight large cranes';
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH4A6gb3m/D8UwcAsXQZxAEUROYiJOd0SiWTu6lLlAJT anna@laptop\n';

async function ask(method, path, token, body) {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, body: await answer.json() };
}

async function signUp(anna) {
  await anna.page.goto(`${base}/`);
  await anna.page.waitForURL('**/console/sign-in');
  await anna.page.getByRole('link', { name: 'Sign up' }).click();
  // A reason beside the field, and what was typed is still there.
  await anna.send('Sign up', { 'Your name': 'Anna', 'E-mail address': EMAIL, Password: 'aaaaaaaaaaaa' });
  await anna.says('Password is one character over and over; choose another.');
  assert.equal(await anna.field('E-mail address').inputValue(), EMAIL);
  await anna.send('Sign up', { Password: PASSWORD });
  await anna.says(`A mail to ${EMAIL} says what to do next.`);

  const link = linkIn(await mailTo(EMAIL, 'signed up'), 'verify');
  await anna.page.goto(`${base}/console/sign-in`);
  await anna.send('Sign in', { 'E-mail address': EMAIL, Password: PASSWORD });
  await anna.says('the address has not been confirmed yet');

  await anna.page.goto(link);
  await anna.send('Confirm', { Password: 'not the password' });
  await anna.says('This is not the password that was chosen');
  await anna.send('Confirm', { Password: PASSWORD });
  await anna.says('Welcome. You are signed in.');
  await anna.signOut();
}

async function signIn(person, password) {
  await person.page.goto(`${base}/console/sign-in`);
  await person.send('Sign in', { 'E-mail address': EMAIL, Password: password });
}

async function makeToken(anna) {
  await anna.unfold('Make a token');
  await anna.page.locator('#tokens').getByLabel('Name').fill('laptop');
  await anna.page.getByLabel('Ends').selectOption({ label: 'in 30 days' });
  await anna.page.getByRole('button', { name: 'Make the token' }).click();
  const token = await anna.page.locator('#new-token').innerText();
  assert.match(token, /^pilvi_pat_[0-9a-f]{40}$/);
  const user = await ask('GET', '/v1/user', token);
  assert.deepEqual([user.status, user.body.email, user.body.emailVerified], [200, EMAIL, true]);
  await anna.page.goto(`${base}/console/profile`);
  await anna.says('Last used around');
  assert.equal(await anna.page.getByText('pilvi_pat_').count(), 0, 'a token is shown once');
  return token;
}

// The published client, where it can be used: it knows no port but 443.
async function useToken(token) {
  const address = process.env.HTTPS_ADDRESS;
  if (!address) return;
  const platform = new Platform({ address, secret: token });
  assert.equal((await call((done) => platform.getUser(done))).email, EMAIL);
  await call((done) => platform.createCloud('Made by qtc', done));
  const tokens = await call((done) => platform.getAccessTokens(done));
  assert.deepEqual(tokens.results.map(({ name }) => name), ['laptop']);
}

async function lookAfter(anna) {
  await anna.unfold('Add a key');
  await anna.page.locator('#keys').getByLabel('Name').fill('laptop');
  await anna.field('Public key').fill('no key');
  await anna.page.getByRole('button', { name: 'Add the key' }).click();
  // What was typed is still there, beside what is wrong with it.
  await anna.page.locator('#add-key .notice.bad').waitFor();
  assert.equal(await anna.page.locator('#keys').getByLabel('Name').inputValue(), 'laptop');
  await anna.field('Public key').fill(KEY);
  await anna.page.getByRole('button', { name: 'Add the key' }).click();
  await anna.says('The key is added.');
  await anna.page.locator('#keys').getByRole('button', { name: 'Remove' }).click();
  await anna.says('The key is removed.');
  await anna.unfold('Change your name');
  await anna.page.locator('#person').getByLabel('Name').fill('Anna Ä. <b>');
  await anna.page.getByRole('button', { name: 'Change the name' }).click();
  await anna.page.locator('header').getByText('Anna Ä. <b>').waitFor();
}

async function joinAccount(anna) {
  const path = `/v1/accounts/${given('ACCOUNT_ID')}/invitations`;
  const invited = await ask('POST', path, given('TOKEN'), { email: EMAIL, role: 'developer' });
  assert.equal(invited.status, 201);
  await anna.page.goto(`${base}/console/profile`);
  await anna.page.getByRole('button', { name: 'Accept' }).click();
  await anna.says('You are a member of the account now.');
  await anna.page.locator('#accounts').getByText('developer').waitFor();
}

async function signOutElsewhere(browser, anna) {
  const other = await newVisitor(browser);
  await signIn(other, PASSWORD);
  await other.page.waitForURL('**/console/profile');
  await anna.page.goto(`${base}/console/profile`);
  assert.equal(await anna.page.locator('#sessions li').count(), 2);
  await anna.page.getByRole('button', { name: 'Sign out all other browsers' }).click();
  await anna.says('All other browsers are signed out.');
  await other.page.goto(`${base}/console/profile`);
  await other.page.waitForURL('**/console/sign-in?next=**');
  await other.context.close();
}

// A page on another site tries to act in Anna's name, with her browser.
async function attackFromElsewhere(browser) {
  const victim = await newVisitor(browser, { javaScriptEnabled: true });
  await signIn(victim, PASSWORD);
  await victim.page.waitForURL('**/console/profile');
  await victim.page.route('http://evil.example/', (route) => route.fulfill({
    contentType: 'text/html',
    body: `<form method="post" action="${base}/console/profile/name"><input name="new-name" value="Evil">
           <button>a trap</button></form><a href="${base}/console/profile">a link</a>`,
  }));
  await victim.page.goto('http://evil.example/');
  const [answer] = await Promise.all([
    victim.page.waitForResponse((reply) => reply.url().endsWith('/console/profile/name')),
    victim.page.getByText('a trap').click(),
  ]);
  const sent = await answer.request().allHeaders();
  assert.ok(!(sent.cookie ?? '').includes('__Host-pilvi='), 'the browser keeps the cookie to itself');
  assert.ok([403, 303].includes(answer.status()), `${answer.status()}`);
  // A link from there still finds her signed in, and named as before.
  await victim.page.goto('http://evil.example/');
  await victim.page.getByText('a link').click();
  await victim.page.waitForURL('**/console/profile');
  await victim.page.locator('header').getByText('Anna Ä. <b>').waitFor();
  await victim.context.close();
}

async function forget(anna, token) {
  await anna.page.getByRole('link', { name: 'Forgot your password?' }).click();
  await anna.send('Send the mail', { 'E-mail address': EMAIL });
  await anna.says('a mail with a code is on its way');
  const link = linkIn(await mailTo(EMAIL, 'asked for a new password'), 'reset');
  await anna.page.goto(link);
  await anna.page.getByRole('checkbox').check();
  await anna.send('Set the password', { 'The new password': NEW_PASSWORD });
  await anna.says('The password is set, and every browser is signed out.');
  assert.equal((await ask('GET', '/v1/user', token)).status, 401);
  await anna.page.goto(link);
  await anna.says('is worth nothing');
  await signIn(anna, NEW_PASSWORD);
  await anna.page.waitForURL('**/console/profile');
}

async function guess(browser) {
  const mallory = await newVisitor(browser);
  await mallory.page.goto(`${base}/console/sign-in`);
  const attempt = async () => {
    const [answer] = await Promise.all([
      mallory.page.waitForResponse((reply) => reply.request().method() === 'POST'),
      mallory.send('Sign in', { 'E-mail address': EMAIL, Password: 'a guess' }),
    ]);
    return answer.status();
  };
  const statuses = [];
  for (let count = 0; count < 12; count += 1) statuses.push(await attempt());
  assert.deepEqual([...new Set(statuses)], [401, 429], `${statuses}`);
  await mallory.says('Too many attempts failed');
  assert.equal(await mallory.cookie('__Host-pilvi'), undefined);
  await mallory.context.close();
}

report(() => withBrowser(async (browser) => {
  const anna = await newVisitor(browser);
  await signUp(anna);
  const visit = await anna.cookie('__Host-pilvi-visit');
  assert.ok(visit.secure && visit.httpOnly && visit.sameSite === 'Lax' && visit.path === '/');

  await signIn(anna, PASSWORD);
  await anna.page.waitForURL('**/console/profile');
  const session = await anna.cookie('__Host-pilvi');
  assert.ok(session.secure && session.httpOnly && session.sameSite === 'Strict' && session.path === '/');
  const withCookies = await anna.context.request.get(`${base}/v1/user`);
  assert.equal(withCookies.status(), 401, 'no route of the interface reads a cookie');

  const token = await makeToken(anna);
  await useToken(token);
  await lookAfter(anna);
  await joinAccount(anna);
  await signOutElsewhere(browser, anna);
  await attackFromElsewhere(browser);
  await anna.page.goto(`${base}/console/profile`);
  await anna.signOut();
  assert.equal(await anna.cookie('__Host-pilvi'), undefined);
  await anna.page.goBack();
  await anna.page.goto(`${base}/console/profile`);
  await anna.page.waitForURL('**/console/sign-in?next=**');
  await anna.page.goto(`${base}/console/sign-in`);

  await forget(anna, token);
  await anna.signOut();
  await guess(browser);

  // Over TLS as well.
  if (process.env.HTTPS_ADDRESS) {
    const secure = await newVisitor(browser, { ignoreHTTPSErrors: true });
    await secure.page.goto(`${process.env.HTTPS_ADDRESS}/console/forgot`);
    await secure.send('Send the mail', { 'E-mail address': 'nobody@example.org' });
    await secure.says('a mail with a code is on its way');
    await secure.context.close();
  }
  await eventually(async () => mailsTo('nobody@example.org').length, 0, 'mails to nobody');
  assert.deepEqual(anna.complaints, []);
  return { mails: mailsTo(EMAIL).length };
}));
