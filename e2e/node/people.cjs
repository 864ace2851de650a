'use strict';
// The published client's users and usergroups, and calls with a user's access token.

const assert = require('node:assert/strict');
const { Eds } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID') });
const rest = (verb, path, options) => call((done) => eds.rest(verb, path, options, done));

async function checkUsers() {
  const person = { username: 'first user', password: 'a+b c', email: '', lastName: 'Käsi' };
  const user = await call((done) => eds.users.insert(person, done));
  assert.equal(user.objectType, 'users');
  assert.equal(user.lastName, 'Käsi');
  assert.ok(!('password' in user));
  assert.deepEqual(user.creator, { id: user.id, objectType: 'users' });

  const taken = await refusal(400, call((done) => eds.users.insert(person, done)));
  const fault = { message: 'has already been taken', property: 'username', reason: 'ValidationFailed' };
  assert.deepEqual(taken, { errors: [fault] });
  const blank = await refusal(400, call((done) => eds.users.insert({ username: 'x' }, done)));
  assert.deepEqual(blank.errors, [{ message: "can't be blank", property: 'password', reason: 'ValidationFailed' }]);

  const found = await call((done) => eds.users.find({ username: 'first user' }, done));
  assert.deepEqual(found, [user]);
  assert.equal(await call((done) => eds.users.count({}, done)), 1);
  const changed = await call((done) => eds.users.update(user.id, { firstName: 'Anna' }, done));
  assert.equal(changed.firstName, 'Anna');
  return changed;
}

// The class has no login of its own; its `rest` takes a body as it is.
async function signIn(username, password) {
  const body = JSON.stringify({ grant_type: 'password', username, password });
  return rest('POST', '/auth/oauth2/token', { body });
}

async function checkTokens(user) {
  const failed = await refusal(400, signIn('first user', 'a b c'));
  assert.equal(failed.error, 'invalid_grant');
  const { access_token: accessToken, enginio_data: data } = await signIn('first user', 'a+b c');
  assert.equal(data.user.id, user.id);
  const mine = { accessToken };
  const notes = eds.collection('notes');
  const note = await call((done) => notes.insert({ text: 'mine' }, mine, done));
  assert.equal(note.creator.id, user.id);
  const updated = await call((done) => notes.update(note.id, { text: 'still mine' }, mine, done));
  assert.equal(updated.updater.id, user.id);
  assert.equal((await call((done) => notes.find({}, mine, done))).length, 1);
  assert.equal(await call((done) => notes.count({}, mine, done)), 1);
  const expanded = await call((done) => notes.findOne(note.id, { include: { creator: {} }, ...mine }, done));
  assert.equal(expanded.creator.username, 'first user');
  const stale = { accessToken: 'stale' };
  const refused = await refusal(401, call((done) => notes.find({}, stale, done)));
  assert.equal(refused.errors[0].reason, 'Unauthorized');
  assert.equal(await call((done) => notes.remove(note.id, mine, done)), true);
  return mine;
}

async function checkGroups(user, mine) {
  const group = await call((done) => eds.usergroups.insert({ name: 'friends', size: 3 }, mine, done));
  assert.equal(group.objectType, 'usergroups');
  const members = `/usergroups/${group.id}/members`;
  const reference = JSON.stringify({ id: user.id, objectType: 'users' });
  const added = await rest('POST', members, { body: reference });
  assert.equal(added.id, user.id);
  const again = await refusal(400, rest('POST', members, { body: reference }));
  assert.equal(again.errors[0].reason, 'ValidationFailed');
  const listed = await rest('GET', members, { querystring: { limit: 10 } });
  assert.deepEqual(listed.results.map((member) => member.id), [user.id]);
  const named = await call((done) => eds.usergroups.find({ name: 'friends' }, done));
  assert.deepEqual(named.map((one) => one.id), [group.id]);
  assert.equal(await call((done) => eds.usergroups.remove(group.id, done)), true);
  await refusal(404, rest('GET', members, {}));
}

report(async () => {
  const user = await checkUsers();
  const mine = await checkTokens(user);
  await checkGroups(user, mine);
  assert.equal(await call((done) => eds.users.remove(user.id, done)), true);
  // Who is gone is signed in no more.
  await refusal(401, call((done) => eds.collection('notes').find({}, mine, done)));
  return { users: await call((done) => eds.users.count({}, done)) };
});
