'use strict';
// The published client writes what somebody else watches: an object created, changed, and another removed.

const { Eds } = require('qtc');
const { report, call, given } = require('./report.cjs');

report(async () => {
  const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret: given('TOKEN') });
  const notes = eds.collection('notes');
  const kept = await call((done) => notes.insert({ text: 'written by qtc' }, done));
  const removed = await call((done) => notes.insert({ text: 'not for long', hidden: true }, done));
  await call((done) => notes.remove(removed.id, done));
  process.stdout.write(`${JSON.stringify(kept)}\n`);
  // The watcher says when it has seen the first state; a faster change would hide it.
  await new Promise((resolve) => process.stdin.once('data', resolve));
  return call((done) => notes.update(kept.id, { text: 'changed by qtc' }, done));
});
