'use strict';
// A page that was opened from a file, in a real browser: to the server its origin is `null`, so every call with a header
// of this service is asked about first, and every reply, refusals among them, must be for the page to read.

const assert = require('node:assert/strict');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { withBrowser } = require('./browser.cjs');
const { report, given } = require('./report.cjs');

const server = given('ADDRESS');
const backend = { 'Enginio-Backend-Id': given('BACKEND_ID') };
const json = { ...backend, 'Content-Type': 'application/json' };

// What the browser asks for by itself before a call, and what it is told.
class Preflights {
  static async watch(page) {
    const watching = new Preflights();
    const devtools = await page.context().newCDPSession(page);
    devtools.on('Network.requestWillBeSentExtraInfo', ({ headers }) => {
      if ('Origin' in headers) watching.origins.add(headers.Origin);
    });
    devtools.on('Network.responseReceived', ({ type, response }) => {
      if (type === 'Preflight') watching.answers.push(response);
    });
    await devtools.send('Network.enable');
    return watching;
  }

  constructor() {
    this.answers = [];
    this.origins = new Set();
  }
}

class Page {
  constructor(page) {
    this.page = page;
  }

  // What the page reads of the reply.
  async call(status, verb, address, headers, body) {
    const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
    const given = [server, verb, address, headers, text];
    const reply = await this.page.evaluate((all) => call(...all), given);
    assert.equal(reply.status, status, `${verb} ${address}: ${reply.text}`);
    return JSON.parse(reply.text);
  }
}

async function walk(page) {
  const anna = { username: 'anna', password: 'her secret' };
  const user = await page.call(201, 'POST', '/v1/users', json, anna);
  const form = { ...backend, 'Content-Type': 'application/x-www-form-urlencoded' };
  const login = 'grant_type=password&username=anna&password=her+secret';
  const tokens = await page.call(200, 'POST', '/v1/auth/oauth2/token', form, login);
  const signedIn = { ...json, Authorization: `Bearer ${tokens.access_token}` };

  const sent = { ...signedIn, 'X-Requested-With': 'XMLHttpRequest', 'Idempotency-Key': 'from a file' };
  const note = await page.call(201, 'POST', '/v1/objects/notes', sent, { title: 'from a file' });
  assert.deepEqual(note.creator, { id: user.id, objectType: 'users' });
  const q = encodeURIComponent('{"title":"from a file"}');
  const list = await page.call(200, 'GET', `/v1/objects/notes?q=${q}&include={"creator":{}}`, signedIn);
  assert.equal(list.results[0].creator.username, 'anna');
  const at = `/v1/objects/notes/${note.id}`;
  const changed = await page.call(200, 'PUT', at, signedIn, { ...note, title: 'changed' });
  assert.equal(changed.title, 'changed');
  // As QML's XMLHttpRequest labels it.
  const labelled = { ...backend, 'Content-Type': 'text/plain;charset=UTF-8' };
  await page.call(200, 'PUT', `${at}/atomic`, labelled, '{"$inc":{"read":1}}');
  const access = { update: [{ id: '*', objectType: 'aclSubject' }] };
  const withdrawn = await page.call(200, 'DELETE', `${at}/access`, signedIn, access);
  assert.deepEqual(withdrawn.update, []);

  const refusals = [
    await page.call(400, 'POST', '/v1/users', json, anna),
    await page.call(400, 'GET', '/v1/objects/notes?q={', signedIn),
    await page.call(400, 'GET', '/v1/objects/notes', { 'Enginio-Backend-Id': 'nobody' }),
    await page.call(401, 'GET', '/v1/user', { ...json, Authorization: 'Bearer nonsense' }),
    await page.call(403, 'GET', '/v1/object_types', signedIn),
    await page.call(404, 'GET', '/v1/objects/notes/INVALID_ID', backend),
    await page.call(404, 'GET', '/v1/nowhere', backend),
    await page.call(405, 'DELETE', '/v1/user', signedIn),
  ];
  for (const { errors } of refusals) assert.ok(errors[0].message && errors[0].reason, JSON.stringify(errors));
  assert.deepEqual(await page.call(200, 'DELETE', at, signedIn), {});
  return refusals.length;
}

report(() => withBrowser(async (browser) => {
  const page = await browser.newPage();
  const preflights = await Preflights.watch(page);
  await page.goto(pathToFileURL(path.join(__dirname, 'from_file.html')).href);
  const refusals = await walk(new Page(page));
  // The browser remembers an answer for its path, so there are fewer questions than calls.
  assert.ok(preflights.answers.length >= 8, `${preflights.answers.length} preflights`);
  for (const { status, headers } of preflights.answers) {
    assert.ok([200, 204].includes(status), `a preflight is answered with ${status}`);
    const told = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    assert.equal(told['access-control-allow-origin'], '*');
    assert.ok(Number(told['access-control-max-age']) > 0);
  }
  assert.deepEqual([...preflights.origins], ['null']);
  return { refusals };
}));
