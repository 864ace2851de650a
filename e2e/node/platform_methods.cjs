'use strict';
// Every method of the published client's Platform class (`platform.md` §9), each with its effect looked at.

const assert = require('node:assert/strict');
const { Platform } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/;
// Not called by users of the class.
const INSIDES = ['_createInstance', 'getApiHeaders'];

// Writes down which methods are called.
function watched(platform) {
  const called = new Set();
  const proxy = new Proxy(platform, {
    get(target, name) {
      const value = target[name];
      if (typeof value !== 'function') return value;
      called.add(name);
      return value.bind(target);
    },
  });
  return { proxy, called };
}

async function checkPeople(platform) {
  const user = await call((done) => platform.getUser(done));
  for (const field of ['id', 'email', 'name']) assert.equal(typeof user[field], 'string', field);
  const again = await call((done) => platform.rest('get', '/user', {}, done));
  assert.deepEqual(again, user, 'rest leads to the same place');
  return user;
}

async function checkClouds(platform) {
  const made = await call((done) => platform.createCloud('Second cloud', done));
  assert.equal(made.name, 'Second cloud');
  assert.deepEqual(Object.keys(made.datacenter).sort(), ['description', 'id']);
  assert.equal(typeof made.vpc, 'boolean');
  assert.match(made.createdAt, ISO_TIME);
  const info = await call((done) => platform.getCloudInfo(made.id, done));
  assert.deepEqual(info, made);
  const clouds = await call((done) => platform.getClouds(done));
  assert.deepEqual(clouds.results.map((cloud) => cloud.id).sort(), [given('ACCOUNT_ID'), made.id].sort());
  const nameless = await refusal(422, call((done) => platform.createCloud('', done)));
  assert.equal(nameless.errors[0].property, 'name');
  return made;
}

async function checkInstances(platform, cloud) {
  const eds = await call((done) => platform.createEdsInstance(cloud.id, 'shop', done));
  const mws = await call((done) => platform.createMwsInstance(cloud.id, 'bells', { datacenter: 'eu-1' }, done));
  const app = await call((done) => platform.createMarAppInstance(cloud.id, 'echo', 1, done));
  assert.match(app.id, /^mar-eu-1-[a-z0-9]{8}$/);
  assert.equal(app.config.runtimeSize, 1);
  const database = await refusal(422, call((done) => platform.createMdbInstance(cloud.id, 'db', 1, 'redis', done)));
  assert.ok(database.errors[0].message, 'what is not built yet is refused with a reason');
  await refusal(422, call((done) => platform.createEdsInstance(cloud.id, 'x', { datacenter: 'us-9' }, done)));

  const all = await call((done) => platform.getCloudInstances(cloud.id, done));
  assert.deepEqual(all.results.map((found) => found.id).sort(), [eds.id, mws.id, app.id].sort());
  const bells = await call((done) => platform.getCloudInstances(cloud.id, 'MWS', done));
  assert.deepEqual(bells.results.map((found) => found.id), [mws.id]);

  const info = await call((done) => platform.getInstanceInfo(eds.id, done));
  assert.equal(info.serviceProvider.id, 'eds');
  const renamed = await call((done) => platform.renameInstance(eds.id, 'store', done));
  assert.equal(renamed.name, 'store');
  const tagged = await call((done) => platform.setInstanceTags(eds.id, ['a', 'b'], done));
  assert.deepEqual([tagged.name, tagged.tags], ['store', ['a', 'b']], 'the name stays');
  const kept = await call((done) => platform.renameInstance(eds.id, 'shop', done));
  assert.deepEqual(kept.tags, ['a', 'b'], 'the tags stay');
  const shown = await call((done) => platform.getInstanceInfo(eds.id, done));
  assert.deepEqual([shown.name, shown.tags], ['shop', ['a', 'b']]);

  const tokens = await call((done) => platform.getInstanceTokens(mws.id, done));
  assert.equal(tokens.results.length, 1);
  assert.equal(typeof tokens.results[0].access_token, 'string');
  return [eds, mws, app];
}

async function checkLog(platform, cloud, instances) {
  const log = await call((done) => platform.getCloudLog(cloud.id, done));
  assert.ok(Array.isArray(log.results));
  for (const entry of log.results) {
    assert.match(entry.time, ISO_TIME);
    assert.equal(typeof entry.event, 'string');
  }
  const text = JSON.stringify(log);
  for (const instance of instances) assert.ok(text.includes(instance.id), `the log tells of ${instance.id}`);
}

async function checkRemoval(platform, cloud, instances) {
  const full = await refusal(409, call((done) => platform.removeCloud(cloud.id, done)));
  assert.ok(full.error.message, 'a cloud that holds something is kept, and says why');
  for (const instance of instances) {
    // The class has no method for it; `now` leaves no time of grace.
    const options = { querystring: { now: true } };
    await call((done) => platform.rest('DELETE', `instances/${instance.id}`, options, done));
    await refusal(404, call((done) => platform.getInstanceInfo(instance.id, done)));
  }
  assert.deepEqual(await call((done) => platform.getCloudInstances(cloud.id, done)), { results: [] });
  await call((done) => platform.removeCloud(cloud.id, done));
  await refusal(404, call((done) => platform.getCloudInfo(cloud.id, done)));
  await refusal(404, call((done) => platform.removeCloud(cloud.id, done)));
}

async function checkTokens(platform, user) {
  const before = await call((done) => platform.getAccessTokens(done));
  const made = await call((done) => platform.createAccessToken(done));
  assert.equal(typeof made.access_token, 'string');
  const other = new Platform({ address: given('ADDRESS'), secret: made.access_token });
  assert.deepEqual(await call((done) => other.getUser(done)), user);
  const after = await call((done) => platform.getAccessTokens(done));
  assert.equal(after.results.length, before.results.length + 1);
  assert.ok(!JSON.stringify(after).includes(made.access_token), 'a token is shown once');
  await call((done) => platform.removeAccessToken(made.id, done));
  await refusal(401, call((done) => other.getUser(done)));
  await refusal(404, call((done) => platform.removeAccessToken(made.id, done)));
}

async function checkKeys(platform) {
  const added = await call((done) => platform.addSSHKey('desk', given('SSH_KEY'), done));
  assert.deepEqual([added.name, added.fingerprint], ['desk', given('FINGERPRINT')]);
  const keys = await call((done) => platform.getSSHKeys(done));
  assert.deepEqual(keys.results, [added]);
  await refusal(409, call((done) => platform.addSSHKey('again', given('SSH_KEY'), done)));
  const bad = await refusal(422, call((done) => platform.addSSHKey('bad', 'hello', done)));
  assert.equal(bad.errors[0].property, 'key');
  await call((done) => platform.removeSSHKey(added.id, done));
  assert.deepEqual(await call((done) => platform.getSSHKeys(done)), { results: [] });
  await refusal(404, call((done) => platform.removeSSHKey(added.id, done)));
}

// A wrong secret gets nowhere, with any of them.
async function checkStranger(cloud, instance) {
  const stranger = new Platform({ address: given('ADDRESS'), secret: 'wrong' });
  for (const ask of [
    (done) => stranger.getUser(done),
    (done) => stranger.getClouds(done),
    (done) => stranger.getCloudLog(cloud.id, done),
    (done) => stranger.getInstanceTokens(instance.id, done),
    (done) => stranger.renameInstance(instance.id, 'x', done),
    (done) => stranger.createAccessToken(done),
    (done) => stranger.addSSHKey('x', given('SSH_KEY'), done),
  ]) {
    const body = await refusal(401, call(ask));
    assert.equal(body.error.reason, 'AccessDenied');
  }
}

report(async () => {
  const { proxy: platform, called } = watched(new Platform({ address: given('ADDRESS'), secret: given('TOKEN') }));
  const user = await checkPeople(platform);
  const cloud = await checkClouds(platform);
  const instances = await checkInstances(platform, cloud);
  await checkLog(platform, cloud, instances);
  await checkStranger(cloud, instances[0]);
  await checkRemoval(platform, cloud, instances);
  await checkTokens(platform, user);
  await checkKeys(platform);
  const methods = Object.keys(Platform.prototype).filter((name) => !INSIDES.includes(name));
  assert.deepEqual(methods.filter((name) => !called.has(name)), [], 'methods that were not called');
  return { methods: methods.length };
});
