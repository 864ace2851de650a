'use strict';
// What can be said of a page's looks without a person: nothing is wider than the window, and every text stands out from
// what is behind it.

const assert = require('node:assert/strict');
const path = require('node:path');
const { given } = require('./report.cjs');

const SIZES = {
  desktop: { width: 1280, height: 800 },
  // One of two windows beside each other on a small screen.
  half: { width: 683, height: 768 },
  phone: { width: 390, height: 844 },
};
const SCHEMES = ['light', 'dark'];

// The smallest contrast that WCAG 2 allows for texts of this size.
const CONTRAST_MIN = 4.5;

// Takes a picture in each size and scheme, and says how many.
async function takePictures(page, content) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      const name = `${size}-${colorScheme}-${content}`;
      await page.screenshot({ path: path.join(given('PICTURES'), `${name}.png`), fullPage: true });
      assert.equal(await page.evaluate(widerBy), 0, `${name} is wider than its window`);
      assert.deepEqual(await page.evaluate(faintTexts, CONTRAST_MIN), [], `${name} has faint texts`);
    }
  }
  return Object.keys(SIZES).length * SCHEMES.length;
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

module.exports = { takePictures };
