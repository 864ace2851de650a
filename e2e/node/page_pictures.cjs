'use strict';
// Pictures of the page for people, and what can be said of its looks without them: nothing is wider than the window,
// and every text stands out from what is behind it.

const assert = require('node:assert/strict');
const path = require('node:path');
const { report, given } = require('./report.cjs');
const { withBrowser, Window, todos } = require('./browser.cjs');

const SIZES = {
  desktop: { width: 1280, height: 800 },
  // One of two windows beside each other on a small screen.
  half: { width: 683, height: 768 },
  phone: { width: 390, height: 844 },
};
const SCHEMES = ['light', 'dark'];

// The smallest contrast that WCAG 2 allows for texts of this size.
const CONTRAST_MIN = 4.5;

const TITLES = [
  'Bring milk',
  'Ring the bell at the harbour',
  'Write to Aino',
  'Water the plants on both balconies, also the small one behind the door that everybody forgets about',
  'Book the sauna',
  'Mend the bicycle',
  'Return the library books',
  'Ask for the keys of the boat house',
  'Buy korvapuusti for Päivi',
  'Show this page at a conference',
];

async function takePictures(window, content) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    await window.page.setViewportSize(viewport);
    for (const colorScheme of SCHEMES) {
      await window.page.emulateMedia({ colorScheme });
      const name = `${size}-${colorScheme}-${content}`;
      await window.page.screenshot({ path: path.join(given('PICTURES'), `${name}.png`), fullPage: true });
      assert.equal(await window.page.evaluate(widerBy), 0, `${name} is wider than its window`);
      assert.deepEqual(await window.page.evaluate(faintTexts, CONTRAST_MIN), [], `${name} has faint texts`);
    }
  }
}

// Runs in the page.
function widerBy() {
  return document.documentElement.scrollWidth - document.documentElement.clientWidth;
}

// Runs in the page: every text with too little contrast to the nearest background behind it.
function faintTexts(contrastMin) {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const isClear = (colour) => channels(colour)[3] === 0;
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return isClear(colour) && element.parentElement ? behind(element.parentElement) : colour;
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest('.unseen, noscript')) continue;
    const [dark, light] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < contrastMin) faint.push(`${text}: ${contrast.toFixed(2)}`);
  }
  return faint;
}

report(() => withBrowser(async (browser) => {
  const window = await Window.open(browser);
  await window.connected();
  await window.page.getByText('Nothing to do.').waitFor();
  await takePictures(window, 'empty');

  for (const [index, title] of TITLES.slice(0, -1).entries()) await todos.create(title, index % 4 === 1);
  await window.add(TITLES.at(-1));
  await window.box(TITLES.at(-1)).waitFor();
  await window.box('Write to Aino').check();
  await window.page.locator('#messages .event[data-event="update"]').waitFor();
  await takePictures(window, 'ten');
  window.expectSilence();
  return { pictures: Object.keys(SIZES).length * SCHEMES.length * 2 };
}));
