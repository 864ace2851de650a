'use strict';
// The published client's platform calls, and what they make put to use by its other classes.

const assert = require('node:assert/strict');
const { Eds, Mws, Platform } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const HEX_ID = /^[0-9a-f]{24}$/;

const address = given('ADDRESS');

async function checkUser(platform) {
  const user = await call((done) => platform.getUser(done));
  assert.equal(typeof user.id, 'string');
  const clouds = await call((done) => platform.getClouds(done));
  assert.ok(clouds.results.length >= 1);
  const cloud = clouds.results.find((found) => found.id === given('ACCOUNT_ID'));
  assert.ok(cloud, 'the account of the ready line is among the clouds');
  assert.ok(cloud.name);
  assert.equal(cloud.datacenter.id, 'eu-1');
  return cloud;
}

async function checkInstance(platform, instance, provider, name) {
  assert.match(instance.id, HEX_ID);
  assert.equal(instance.name, name);
  assert.ok(Array.isArray(instance.tags), 'null tags crash an old client');
  assert.equal(instance.datacenterId, 'eu-1');
  const tokens = await call((done) => platform.getInstanceTokens(instance.id, done));
  const [first] = tokens.results;
  assert.ok(first.access_token, `a fresh ${provider} instance has a token`);
  return first.access_token;
}

async function checkRefusals(platform, cloud) {
  const stranger = new Platform({ address, secret: 'wrong' });
  const wrong = await refusal(401, call((done) => stranger.getUser(done)));
  assert.equal(wrong.error.reason, 'AccessDenied');
  const nameless = await refusal(422, call((done) => platform.createEdsInstance(cloud.id, '', done)));
  assert.equal(nameless.errors[0].property, 'name');
  await refusal(422, call((done) => platform.createMdbInstance(cloud.id, 'db', 1, 'redis', done)));
  const sizeless = await refusal(422, call((done) => platform.createMarAppInstance(cloud.id, 'app', 3, done)));
  assert.equal(sizeless.errors[0].property, 'config.runtimeSize');
}

report(async () => {
  const platform = new Platform({ address, secret: given('TOKEN') });
  const cloud = await checkUser(platform);

  const eds = await call((done) => platform.createEdsInstance(cloud.id, 'shop', done));
  const edsToken = await checkInstance(platform, eds, 'eds', 'shop');
  const options = { datacenter: 'eu-1' };
  const mws = await call((done) => platform.createMwsInstance(cloud.id, 'bells', options, done));
  const mwsToken = await checkInstance(platform, mws, 'mws', 'bells');

  // What was made works at once, with the tokens that were listed.
  const goods = new Eds({ address, backendId: eds.id, secret: edsToken }).collection('goods');
  await call((done) => goods.insert({ name: 'bell' }, done));
  assert.equal(await call((done) => goods.count({}, done)), 1);
  const bells = new Mws({ address, gatewayId: mws.id, secret: mwsToken });
  assert.deepEqual(await call((done) => bells.getSockets(done)), { results: [] });

  await checkRefusals(platform, cloud);
  return { backendId: eds.id, gatewayId: mws.id };
});
