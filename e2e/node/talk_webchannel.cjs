'use strict';
// The page of the WebChannel relay in two windows: its object is a C++ program's.

const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { report, given } = require('./report.cjs');

const WAIT_MS = 30_000;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];

class Window {
  // The certificate is the server's own authority's, which Chromium knows nothing of.
  static async open(browser, address) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const window = new Window(await context.newPage());
    const reply = await window.load(address);
    assert.equal(reply.status(), 200);
    await window.page.locator('#state[data-state="connected"]').waitFor({ timeout: WAIT_MS });
    return window;
  }

  constructor(page) {
    this.page = page;
    this.complaints = [];
    page.setDefaultTimeout(WAIT_MS);
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
  }

  // The devices of processes that have just ended may still be going, at which Chromium gives up what it is loading.
  async load(address) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.page.goto(address);
      } catch (error) {
        if (tries === 5 || !error.message.includes('ERR_NETWORK_CHANGED')) throw error;
      }
    }
  }

  async ask(celsius) {
    await this.page.getByLabel('Set it to').fill(celsius);
    await this.page.getByRole('button', { name: 'Ask' }).click();
  }

  shows(celsius) {
    return this.page.locator('#target', { hasText: new RegExp(`^${celsius}$`) }).waitFor();
  }

  hears(line) {
    return this.page.locator('#asked li', { hasText: line }).waitFor();
  }
}

report(async () => {
  const browser = await chromium.launch({ executablePath: given('CHROMIUM'), args: FLAGS, timeout: WAIT_MS });
  try {
    const one = await Window.open(browser, given('PLAIN'));
    const two = await Window.open(browser, given('SECURE'));
    for (const window of [one, two]) await window.shows('20');
    // A method call from one window; the property and the signal in both.
    await one.ask('23.5');
    for (const window of [one, two]) {
      await window.hears('23.5 °C: accepted');
      await window.shows('23\\.5');
    }
    // The method's own answer, in the window that asked.
    await two.ask('99');
    for (const window of [one, two]) await window.hears('99 °C: refused');
    const said = () => two.page.locator('#wish').evaluate((input) => input.validationMessage);
    await two.page.locator('#wish:invalid').waitFor();
    assert.match(await said(), /from 5 to 30/);
    await two.shows('23\\.5');
    assert.deepEqual([...one.complaints, ...two.complaints], []);
    return { windows: 2 };
  } finally {
    await browser.close();
  }
});
