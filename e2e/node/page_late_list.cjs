'use strict';
// The list that a window asks for is late, and messages are there before it.

const { report } = require('./report.cjs');
const { withBrowser, Window, gateway, todos } = require('./browser.cjs');

const LIST = '/v1/objects/todos';
const URI = '/v1/gateways/';

// While the answer is on its way, one todo is deleted, one changed, and one made.
async function checkLateList(browser) {
  await todos.create('stays');
  const goes = await todos.create('goes');
  const changes = await todos.create('changes');
  let list;
  const window = await Window.open(browser, {}, async (prepared) => { list = await prepared.hold(LIST); });
  await list.asked();

  await todos.remove(goes);
  await todos.update(changes, { title: 'changed' });
  await todos.create('new');
  await window.shows(['new', 'changed']);
  // Two todos of one list arrive in any order.
  await window.page.locator('#messages .event[data-event="delete"]').waitFor();

  list.release();
  await window.shows(['new', 'changed', 'stays']);
  await todos.create('last');
  await window.shows(['last', 'new', 'changed', 'stays']);
  window.expectSilence();
  await window.page.close();
}

// A list that was asked for on an earlier connection arrives after that of the next one.
async function checkOutrunList(browser) {
  const goes = await todos.create('goes unheard');
  let list;
  const window = await Window.open(browser, {}, async (prepared) => { list = await prepared.hold(LIST); });
  await list.asked();
  const uri = await window.hold(URI);
  await gateway.hangUp();
  await uri.asked();
  await todos.remove(goes);
  uri.release();
  await window.shows(['last', 'new', 'changed', 'stays']);

  list.release();
  await list.done();
  await todos.create('one more');
  await window.shows(['one more', 'last', 'new', 'changed', 'stays']);
  window.expectSilence();
}

report(() => withBrowser(async (browser) => {
  await checkLateList(browser);
  await checkOutrunList(browser);
  return { lists: 3 };
}));
