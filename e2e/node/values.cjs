'use strict';
// The published client's typed values, references and their expansion, and places.

const assert = require('node:assert/strict');
const { Eds } = require('qtc');
const { report, call, given } = require('./report.cjs');

const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret: given('TOKEN') });

async function insert(name, properties) {
  return call((done) => eds.collection(name).insert(properties, done));
}

async function checkStored() {
  const city = await insert('cities', { name: 'Oulu', at: eds.Geoloc(25.4651, 65.0121) });
  assert.deepEqual(city.at, [25.4651, 65.0121]);
  await insert('cities', { name: 'Helsinki', at: eds.Geoloc([24.9384, 60.1699]) });
  const visit = await insert('visits', {
    city: eds.Ref(city.id, 'objects.cities'),
    when: eds.Time(Date.UTC(2013, 5, 28, 16, 38, 32, 369)),
    until: eds.Time('2013-06-29T01:00:00Z'),
  });
  assert.deepEqual(visit.city, { id: city.id, objectType: 'objects.cities' });
  assert.equal(visit.when, '2013-06-28T16:38:32.369Z');
  assert.equal(visit.until, '2013-06-29T01:00:00.000Z');
  return { city, visit };
}

async function checkFound({ city, visit }) {
  const visits = eds.collection('visits');
  const expanded = await call((done) => visits.findOne(visit.id, { include: { city: {} } }, done));
  assert.deepEqual(expanded.city, city);
  const byRef = { city: eds.Ref(city.id, 'objects.cities') };
  const listed = await call((done) => visits.find(byRef, { include: { city: {} } }, done));
  assert.deepEqual(listed.map((one) => one.city.name), ['Oulu']);
  const later = { when: { $gt: eds.Time(Date.UTC(2013, 5, 28)) }, until: { $lt: eds.Time('2013-06-30') } };
  assert.equal(await call((done) => visits.count(later, done)), 1);

  // What was expanded comes back with an update, and the reference stays.
  expanded.note = 'cold';
  const updated = await call((done) => visits.update(visit.id, expanded, done));
  assert.deepEqual(updated.city, visit.city);
  assert.equal(updated.note, 'cold');

  const near = { at: { $near: eds.Geoloc(25, 61), $maxDistance: 10 } };
  const cities = await call((done) => eds.collection('cities').find(near, done));
  assert.deepEqual(cities.map((one) => one.name), ['Helsinki', 'Oulu']);
}

report(async () => {
  await checkFound(await checkStored());
  return { checked: true };
});
