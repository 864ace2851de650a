'use strict';
// Pictures of the page for people, and what can be said of its looks without them.

const { report } = require('./report.cjs');
const { withBrowser, Window, todos } = require('./browser.cjs');
const { takePictures } = require('./looks.cjs');

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

report(() => withBrowser(async (browser) => {
  const window = await Window.open(browser);
  await window.connected();
  await window.page.getByText('Nothing to do.').waitFor();
  const empty = await takePictures(window.page, 'empty');

  for (const [index, title] of TITLES.slice(0, -1).entries()) await todos.create(title, index % 4 === 1);
  await window.add(TITLES.at(-1));
  await window.box(TITLES.at(-1)).waitFor();
  await window.box('Write to Aino').check();
  await window.page.locator('#messages .event[data-event="update"]').waitFor();
  const ten = await takePictures(window.page, 'ten');
  window.expectSilence();
  return { pictures: empty + ten };
}));
