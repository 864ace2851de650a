'use strict';
// Pictures of the console's pages for people, and what can be said of their looks without them.

const { withBrowser } = require('./browser.cjs');
const { takePictures } = require('./looks.cjs');
const { newVisitor } = require('./people_at_console.cjs');
const { report, given } = require('./report.cjs');

const base = given('ADDRESS');
const PASSWORD = 'seven small cranes';
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH4A6gb3m/D8UwcAsXQZxAEUROYiJOd0SiWTu6lLlAJT anna@laptop\n';

async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${given('TOKEN')}` };
  const answer = await fetch(base + path, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
}

report(() => withBrowser(async (browser) => {
  await ask('PUT', '/v1/user', { name: 'Aino Virtanen', password: PASSWORD });
  await ask('POST', '/v1/authorizations', { name: 'continuous integration', expiresAt: '2099-01-01T00:00:00Z' });
  await ask('POST', '/v1/authorizations', { name: 'a-name-without-any-blank-that-is-much-longer-than-a-phone-is-wide' });
  await ask('POST', '/v1/user/ssh_keys', { name: 'laptop', key: KEY });

  const { page, field } = await newVisitor(browser, { javaScriptEnabled: true });
  let pictures = 0;
  const take = async (name) => { pictures += await takePictures(page, `console-${name}`); };
  const press = (name) => page.getByRole('button', { name, exact: true }).click();

  await page.goto(`${base}/console/sign-up`);
  await field('Your name').fill('Anna');
  await field('E-mail address').fill('anna@example.org');
  await field('Password').fill('too short');
  await press('Sign up');
  await page.locator('.fault').waitFor();
  await take('sign-up');
  await page.goto(`${base}/console/forgot`);
  await take('forgot');
  await field('E-mail address').fill('somebody@example.org');
  await press('Send the mail');
  await page.getByText('Look into your mail').first().waitFor();
  await take('sent');
  await page.goto(`${base}/console/reset?code=00`);
  await take('reset');
  await page.goto(`${base}/console/verify`);
  await take('verify');
  await page.goto(`${base}/console/nothing`);
  await take('not-found');
  await page.goto(`${base}/console/sign-in`);
  await field('E-mail address').fill('operator@localhost');
  await field('Password').fill('wrong');
  await press('Sign in');
  await page.locator('.notice.bad').waitFor();
  await take('sign-in');
  await field('Password').fill(PASSWORD);
  await press('Sign in');
  await page.waitForURL('**/console/profile');
  await take('profile');
  await page.locator('summary', { hasText: 'Make a token' }).click();
  await page.locator('#tokens').getByLabel('Name').fill('laptop');
  await press('Make the token');
  await page.locator('#new-token').waitFor();
  for (const summary of await page.locator('summary').all()) await summary.click();
  await take('unfolded');
  return { pictures };
}));
