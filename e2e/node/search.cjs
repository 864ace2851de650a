'use strict';
// The published client's search: one type and several, properties as it joins them, operators, and refusals.

const assert = require('node:assert/strict');
const { Eds } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret: given('TOKEN') });

function titles(found) {
  return found.results.map((object) => object.title).sort();
}

// It writes into the array and the options that it is given.
function search(phrase, collections, options = {}) {
  return call((done) => eds.search(phrase, collections, options, done));
}

async function insertAnimals() {
  const animals = eds.collection('animals');
  for (const animal of [
    { title: 'A black cat', sound: 'meow', home: [24.94, 60.17] },
    { title: 'Bobcat', sound: 'growl' },
    { title: 'Dog & dogs', sound: 'bark like no cat', home: [25.47, 65.01] },
  ]) {
    await call((done) => animals.insert(animal, done));
  }
  await call((done) => eds.collection('plants').insert({ title: 'Catnip, for the cat' }, done));
}

report(async () => {
  await insertAnimals();
  assert.deepEqual(titles(await search('cat', 'animals')), ['A black cat', 'Dog & dogs']);
  assert.deepEqual(titles(await search('CAT', ['animals', 'plants'])), [
    'A black cat',
    'Catnip, for the cat',
    'Dog & dogs',
  ]);
  assert.deepEqual(titles(await search('*cat', 'animals', { properties: ['title', 'nowhere'] })), [
    'A black cat',
    'Bobcat',
  ]);
  assert.deepEqual(titles(await search('cat bark', 'animals', { defaultOperator: 'and' })), ['Dog & dogs']);
  assert.deepEqual(titles(await search('"black cat" OR "dog dogs"', 'animals')), ['A black cat', 'Dog & dogs']);
  assert.deepEqual(titles(await search('cat -bark', 'animals')), ['A black cat']);
  const near = { point: [24.9, 60.2], distance: 20000 };
  assert.deepEqual(titles(await search('cat OR bobcat', 'animals', { near })), ['A black cat']);

  const sort = JSON.stringify([{ sortBy: 'title', direction: 'desc' }]);
  const page = await search('*cat OR dog', 'animals', { sort, limit: 1, offset: 1 });
  assert.deepEqual(titles(page), ['Bobcat']);
  assert.equal((await search('cat*', ['animals', 'plants'], { count: 1 })).count, 3);

  const refused = await refusal(400, search('(cat', 'animals'));
  assert.equal(refused.errors[0].reason, 'BadRequest');
  return { found: true };
});
