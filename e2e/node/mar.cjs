'use strict';
// The published client's class for apps, about an app that was just made.

const assert = require('node:assert/strict');
const { Mar, Platform } = require('qtc');
const { report, call, refusal, given } = require('./report.cjs');

const APP_ID = /^mar-eu-1-[a-z0-9]{8}$/;

const address = given('ADDRESS');

report(async () => {
  const platform = new Platform({ address, secret: given('TOKEN') });
  const cloud = given('ACCOUNT_ID');
  const app = await call((done) => platform.createMarAppInstance(cloud, 'echo', '2', { datacenter: 'eu-1' }, done));
  assert.match(app.id, APP_ID);
  assert.ok(app.config.MAR_GIT_ADDRESS.includes(app.id));
  assert.deepEqual([app.config.runtimeSize, app.config.runtimeType], [2, 'app']);
  const listed = await call((done) => platform.getCloudInstances(cloud, 'MAR', done));
  assert.deepEqual(listed.results.map((found) => found.id), [app.id]);
  const tokens = await call((done) => platform.getInstanceTokens(app.id, done));

  // With the token that is listed for the app, as the class is meant to be used.
  const mar = new Mar({ address, instanceId: app.id, secret: tokens.results[0].access_token });
  const info = await call((done) => mar.getInstanceInfo(done));
  assert.deepEqual(
    [info.id, info.name, info.size, info.state, info.structure, info.sslCertificate],
    [app.id, 'echo', 2, 'created', {}, null],
  );
  assert.deepEqual(await call((done) => mar.getEnvVars(done)), { STACK: 'cedar-14' });
  // It passes on what it is given, whatever its type.
  await call((done) => mar.setEnvVars({ A: 1, B: true, C: 'x=y' }, done));
  await call((done) => mar.setEnvVars({ B: null }, done));
  assert.deepEqual(await call((done) => mar.getEnvVars(done)), { A: '1', C: 'x=y', STACK: 'cedar-14' });
  const refused = await refusal(422, call((done) => mar.setEnvVars({ PORT: 80 }, done)));
  assert.equal(refused.errors[0].property, 'PORT');
  assert.deepEqual(await call((done) => mar.getLogs(done)), { results: [] });
  assert.deepEqual(await call((done) => mar.getLogs({ querystring: { offset: 0, limit: 5 } }, done)), { results: [] });
  assert.deepEqual(await call((done) => mar.rest('GET', 'slugs/', done)), { results: [] });

  const stranger = new Mar({ address, instanceId: app.id, secret: 'wrong' });
  const wrong = await refusal(401, call((done) => stranger.getInstanceInfo(done)));
  assert.equal(wrong.error.reason, 'AccessDenied');
  return { id: app.id };
});
