'use strict';
// What the scripts with a browser share: Chromium on the demo's page, in windows that know nothing of one another, and
// the demo's data over REST.

const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { inTime, given } = require('./report.cjs');

const WAIT_MS = 15_000;

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const base = given('ADDRESS');

// What the browser says when it does not get an answer, or one that is no success; only an outage that a test makes
// may cause it.
const OUTAGE = /Failed to load resource|WebSocket connection to .* failed/;

// A browser whose every window stands alone, as on as many machines.
async function withBrowser(work) {
  const browser = await chromium.launch({ executablePath: given('CHROMIUM'), args: FLAGS, timeout: 4 * WAIT_MS });
  try {
    return await work(browser);
  } finally {
    await browser.close();
  }
}

// One window with the page in it, and what its test may ask.
class Window {
  // `settings` are those of a browser context, such as the size; `prepare` may take hold of the page before it loads.
  static async open(browser, settings = {}, prepare = async () => {}) {
    const context = await browser.newContext({ reducedMotion: 'reduce', ...settings });
    const window = new Window(await context.newPage());
    await prepare(window);
    const reply = await window.page.goto(`${base}/todo/`);
    assert.equal(reply.status(), 200);
    return window;
  }

  constructor(page) {
    this.page = page;
    this.complaints = [];
    this.outage = false;
    page.setDefaultTimeout(WAIT_MS);
    page.on('console', (message) => {
      if (!['error', 'warning'].includes(message.type())) return;
      if (!(this.outage && OUTAGE.test(message.text()))) this.complaints.push(message.text());
    });
    page.on('response', (reply) => {
      const { pathname } = new URL(reply.url());
      const isFile = /^\/todo(\/|\/.*\.(js|css))?$/.test(pathname);
      if (isFile && !isGuarded(reply.headers())) this.complaints.push(`${pathname} lacks headers`);
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('request', (request) => {
      if (!/^(data:|blob:)/.test(request.url()) && new URL(request.url()).origin !== base) {
        this.complaints.push(`a request went to ${request.url()}`);
      }
    });
  }

  // Waits until the window's socket is open.
  async connected() {
    await this.page.locator('#state[data-state="connected"]').waitFor();
  }

  // Waits until the todos are these and no others, from the top; a leading `x ` stands for a tick.
  async shows(expected) {
    const found = () => this.page.evaluate(() => [...document.querySelectorAll('#todos li')]
      .map((row) => (row.querySelector('input').checked ? 'x ' : '') + row.querySelector('label').textContent));
    await eventually(found, expected, 'the todos');
  }

  // Waits until the messages are these, from the newest.
  async heard(expected) {
    const found = () => this.page.evaluate(() => [...document.querySelectorAll('#messages summary')]
      .map((line) => `${line.querySelector('.event').textContent} ${line.querySelector('.what').textContent}`));
    await eventually(found, expected, 'the messages');
  }

  // Whose element the keyboard speaks to.
  focused() {
    return this.page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id);
  }

  box(title) {
    return this.page.getByRole('checkbox', { name: title, exact: true });
  }

  remove(title) {
    return this.page.getByRole('button', { name: `Delete ${title}`, exact: true });
  }

  // Adds as a hand on the keyboard does.
  async add(title) {
    await this.page.getByLabel('New todo').fill(title);
    await this.page.keyboard.press('Enter');
  }

  // Holds back the answer to the next request whose path begins so. Once `asked`, the server has said what it says;
  // that waits for `release`, and once `done`, the window has it. Later requests pass.
  async hold(path) {
    const [asked, released, done] = [signal(), signal(), signal()];
    let isFirst = true;
    // The route stays when it has done its work: a route that is taken away lets go of what it holds.
    await this.page.route((url) => url.pathname.startsWith(path), async (route) => {
      if (!isFirst) return route.fallback();
      isFirst = false;
      const answer = await route.fetch();
      asked.give();
      await released.given;
      await route.fulfill({ response: answer });
      return done.give();
    });
    return {
      asked: () => inTime(`a request for ${path}`, asked.given),
      release: released.give,
      done: () => inTime(`the answer for ${path}`, done.given),
    };
  }

  // Expects that nothing went wrong that nobody saw.
  expectSilence() {
    assert.deepEqual(this.complaints, []);
  }
}

// Something that happens once, and can be waited for.
function signal() {
  let give;
  const given = new Promise((resolve) => { give = resolve; });
  return { give, given };
}

// Whether a file came with the headers that keep it to itself and up to date.
function isGuarded(headers) {
  return headers['content-security-policy']?.startsWith("default-src 'none';")
    && headers['x-content-type-options'] === 'nosniff'
    && headers['cache-control'] === 'no-cache';
}

// Looks until what is found is what is expected; at the end shows the difference.
async function eventually(find, expected, what) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await find();
    try {
      assert.deepEqual(found, expected, what);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

async function request(method, path, headers, body) {
  const answer = await inTime(`${method} ${path}`, fetch(base + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
  }));
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// The todos of the demo, as another program changes them.
const todos = {
  async send(method, path, body) {
    // Asked each time: a server that was started anew has other instances.
    const { backendId } = await request('GET', '/todo/config.json', {});
    return request(method, `/v1/objects/todos${path}`, { 'Enginio-Backend-Id': backendId }, body);
  },
  create(title, completed = false) {
    return this.send('POST', '', { title, completed });
  },
  update(todo, properties) {
    return this.send('PUT', `/${todo.id}`, properties);
  },
  remove(todo) {
    return this.send('DELETE', `/${todo.id}`);
  },
};

// The gateway of the demo, as its owner uses it.
const gateway = {
  send(method, path, body) {
    const headers = { Authorization: `Bearer ${given('TOKEN')}` };
    return request(method, `/v1/gateways/${given('GATEWAY_ID')}${path}`, headers, body);
  },
  tell(data) {
    return this.send('POST', '/messages', { data, receivers: { sockets: ['*'], tags: null } });
  },
  // Closes every socket.
  async hangUp() {
    const { results } = await this.send('GET', '/sockets');
    assert.ok(results.length > 0, 'somebody is connected');
    for (const { id } of results) await this.send('DELETE', `/sockets/${id}`);
  },
};

module.exports = { withBrowser, Window, todos, gateway, eventually };
