'use strict';
// The published client's data calls: insert, find, findOne, update, remove, and what it makes of refusals.

const assert = require('node:assert/strict');
const { Eds } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const HEX_ID = /^[0-9a-f]{24}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function collection(name, secret) {
  const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret });
  return eds.collection(name);
}

async function checkInsert(books) {
  const properties = { title: 'Käsikirja', pages: 250, tags: ['a', 'b'], place: { shelf: 4 }, lent: false };
  const book = await call((done) => books.insert(properties, done));
  assert.match(book.id, HEX_ID);
  assert.equal(book.objectType, 'objects.books');
  assert.match(book.createdAt, TIME);
  assert.equal(book.updatedAt, book.createdAt);
  for (const [key, value] of Object.entries(properties)) {
    assert.deepEqual(book[key], value, key);
  }
  return book;
}

async function checkFind(books) {
  for (const [title, pages] of [['Short', 40], ['Middling', 120], ['Long', 900]]) {
    await call((done) => books.insert({ title, pages }, done));
  }
  const all = await call((done) => books.find({}, done));
  assert.equal(all.length, 4);

  const longest = { sort: [{ sortBy: 'pages', direction: 'desc' }], limit: 2 };
  const sorted = await call((done) => books.find({}, longest, done));
  assert.deepEqual(sorted.map((book) => book.pages), [900, 250]);

  const next = await call((done) => books.find({}, { ...longest, offset: 2 }, done));
  assert.deepEqual(next.map((book) => book.pages), [120, 40]);

  const long = { pages: { $gt: 100 }, title: { $ne: 'Long' } };
  const filtered = await call((done) => books.find(long, { sort: [{ sortBy: 'title', direction: 'asc' }] }, done));
  assert.deepEqual(filtered.map((book) => book.title), ['Käsikirja', 'Middling']);

  // Blanks, quotes and an umlaut cross the query string unharmed.
  const titled = await call((done) => books.find({ title: { $in: ['Käsikirja', 'a "b" c'] } }, done));
  assert.equal(titled.length, 1);
}

async function checkCount(books) {
  assert.equal(await call((done) => books.find({}, { count: true }, done)), 4);
  assert.equal(await call((done) => books.count({ pages: { $lt: 200 } }, done)), 2);
  // Without a query the client sends an empty one.
  assert.equal(await call((done) => books.find(undefined, { count: 1 }, done)), 4);
}

async function checkUpdate(books, book) {
  const updated = await call((done) => books.update(book.id, { lent: true, place: null }, done));
  assert.equal(updated.lent, true);
  assert.equal(updated.title, book.title, 'what is not sent stays');
  assert.equal(updated.place, null);
  assert.ok(updated.updatedAt > book.updatedAt, 'updatedAt grows strictly');
  assert.equal(updated.createdAt, book.createdAt);
  assert.deepEqual(await call((done) => books.findOne(book.id, done)), updated);
}

async function checkRemove(books, book) {
  assert.equal(await call((done) => books.remove(book.id, done)), true);
  // One after the other: a refusal that nobody awaits yet ends the process.
  for (const ask of [
    (done) => books.findOne(book.id, done),
    (done) => books.update(book.id, { lent: false }, done),
    (done) => books.remove(book.id, done),
  ]) {
    const body = await refusal(404, call(ask));
    assert.equal(body.errors[0].reason, 'NotFound');
    assert.ok(body.errors[0].message);
  }
  assert.equal(await call((done) => books.count({}, done)), 3);
}

async function checkRefusals(books) {
  const unknown = await refusal(400, call((done) => books.find({ pages: { $frob: 1 } }, done)));
  assert.equal(unknown.errors[0].reason, 'BadRequest');
  const stranger = collection('books', 'wrong');
  const wrong = await refusal(401, call((done) => stranger.find({}, done)));
  assert.equal(wrong.errors[0].reason, 'Unauthorized');
}

report(async () => {
  const books = collection('books', given('TOKEN'));
  const book = await checkInsert(books);
  await checkFind(books);
  await checkCount(books);
  await checkUpdate(books, book);
  await checkRemove(books, book);
  await checkRefusals(books);
  // A fresh backend is open: the same calls work without any token.
  const notes = collection('notes');
  const note = await call((done) => notes.insert({ text: 'anonymous' }, done));
  assert.equal((await call((done) => notes.findOne(note.id, done))).text, 'anonymous');
  return { inserted: 5 };
});
