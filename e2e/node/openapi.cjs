'use strict';
// Every call in the published description of data backends, made by a client that knows nothing else.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { clientOf } = require('./described.cjs');
const { report, given } = require('./report.cjs');

const MAIL_MS = 15_000;
const IMPORT_MS = 30_000;

const { call, checkDocument, summary } = clientOf('eds', { 'Enginio-Backend-Id': given('BACKEND_ID') });

const admin = { Authorization: `Bearer ${given('TOKEN')}` };
const bearer = (token) => ({ Authorization: `Bearer ${token}` });
const everybody = [{ id: '*', objectType: 'aclSubject' }];

// What all three collections have: objects that are read, changed, shared and deleted.
async function walk(prefix, object, into, token) {
  const at = { into, headers: bearer(token) };
  assert.equal((await call(`get${prefix}Id`, 200, { ...at, query: { include: '{"creator":{}}' } })).id, object.id);
  await call(`put${prefix}Id`, 200, { ...at, body: { note: 'put' } });
  await call(`patch${prefix}Id`, 200, { ...at, body: { ...object, note: 'patched' } });
  const counted = await call(`put${prefix}IdAtomic`, 200, { ...at, body: { $inc: { votes: 2 }, $push: { tags: { $each: ['a', 1] } } } });
  assert.equal(counted.votes, 2);
  await call(`put${prefix}IdAtomic`, 400, { ...at, body: { $where: 1 } });

  const before = await call(`get${prefix}IdAccess`, 200, at);
  await call(`put${prefix}IdAccess`, 200, { ...at, body: { update: everybody } });
  await call(`delete${prefix}IdAccess`, 200, { ...at, body: { update: everybody } });
  await call(`get${prefix}IdAccess`, 200, { ...at, query: { expand: '1' } });
  assert.deepEqual(await call(`post${prefix}IdAccess`, 200, { ...at, body: before }), before);
  await call(`get${prefix}IdAccess`, 401, { into });
  await call(`get${prefix}Id`, 404, { into: { ...into, id: '0'.repeat(24) } });
}

async function checkObjects(token) {
  const into = { type: 'todos' };
  const headers = { ...bearer(token), 'Idempotency-Key': 'once' };
  const todo = await call('postObjectsType', 201, { into, headers, body: { title: 'A todo', completed: false } });
  await call('postObjectsType', 400, { into, body: { $bad: 1 } });
  await walk('ObjectsType', todo, { ...into, id: todo.id }, token);
  await call('postObjectsType', 201, { into, body: { title: 'Another' } });
  const query = { q: '{"votes":{"$exists":true}}', sort: '{"sortBy":"title"}', limit: '1', include: '{"creator":{}}' };
  const list = await call('getObjectsType', 200, { into, query });
  await call('getObjectsType', 200, { into, query: { ...query, after: list.next } });
  assert.equal((await call('getObjectsType', 200, { into, query: { count: '' } })).count, 2);
  await call('getObjectsType', 400, { into, query: { q: '{"$where":"1"}' } });
  await call('postBatch', 200, { headers: bearer(token), body: { operations: [
    { method: 'POST', path: '/v1/objects/todos', body: { title: 'In a batch' } },
    { method: 'PUT', path: `/v1/objects/todos/${todo.id}/access`, body: { read: everybody } },
    { method: 'DELETE', path: `/v1/objects/todos/${todo.id}` },
  ] } });
  const short = await call('postObjectsType', 201, { into, body: {} });
  await call('deleteObjectsTypeId', 200, { into: { ...into, id: short.id } });
}

async function checkPeople(user, token) {
  await call('postUsers', 400, { body: {} });
  await call('getUsers', 200, { query: { q: '{"username":"anna"}' } });
  await walk('Users', user, { id: user.id }, token);
  const group = await call('postUsergroups', 201, { headers: bearer(token), body: { name: 'editors' } });
  await walk('Usergroups', group, { id: group.id }, token);
  await call('getUsergroups', 200);
  const members = { into: { id: group.id }, headers: bearer(token) };
  const body = { id: user.id, objectType: 'users' };
  await call('postUsergroupsIdMembers', 201, { ...members, body });
  await call('postUsergroupsIdMembers', 400, { ...members, body });
  assert.equal((await call('getUsergroupsIdMembers', 200, members)).results[0].id, user.id);
  assert.equal((await call('getUser', 200, members)).usergroups[0].id, group.id);
  await call('getUser', 401);
  await call('deleteUsergroupsIdMembers', 200, { ...members, body });
  await call('deleteUsergroupsId', 200, members);
}

async function checkSessions(credentials) {
  const wrong = { ...credentials, password: 'wrong' };
  await call('postAuthOauth2Token', 400, { form: { grant_type: 'password', ...wrong } });
  const first = await call('postAuthOauth2Token', 200, { form: { grant_type: 'password', ...credentials } });
  const body = { grant_type: 'refresh_token', refresh_token: first.refresh_token };
  const second = await call('postAuthOauth2Token', 200, { body });
  await call('postAuthOauth2Revoke', 200, { form: { token: second.access_token } });
  await call('postAuthIdentity', 401, { body: wrong });
  const { sessionToken } = await call('postAuthIdentity', 200, { body: credentials });
  const headers = { 'Enginio-Backend-Session': sessionToken };
  await call('getSession', 200, { headers });
  await call('deleteSession', 200, { headers });
  await call('getSession', 401, { headers });
}

// The code in the one mail about this.
async function mailed(words) {
  const folder = given('MAILS');
  for (const end = Date.now() + MAIL_MS; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
    const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith('.eml')) : [];
    const mails = names.map((name) => fs.readFileSync(path.join(folder, name), 'utf8'));
    const code = mails.find((mail) => mail.includes(words))?.match(/\b(?:[0-9a-f]{5}-){3}[0-9a-f]{5}\b/);
    if (code) return code[0];
  }
  throw new Error(`no mail says ${words}`);
}

async function checkMails(credentials, token) {
  await call('postAuthEmailVerification', 401);
  await call('postAuthEmailVerification', 200, { headers: bearer(token) });
  await call('postAuthEmailVerificationConfirm', 200, { body: { token: await mailed('is this your address') } });
  await call('postAuthPasswordReset', 200, { body: { username: credentials.username } });
  const body = { token: await mailed('a new password'), password: 'another' };
  await call('postAuthPasswordResetConfirm', 200, { body });
  await call('postAuthPasswordResetConfirm', 400, { body });
  const asked = { body: { email: 'nobody@example.org' } };
  for (let count = 0; count < 5; count += 1) await call('postAuthPasswordReset', 200, asked);
  await call('postAuthPasswordReset', 429, asked);
}

async function checkAdministration(token) {
  await call('getObjectTypes', 401);
  await call('getObjectTypes', 403, { headers: bearer(token) });
  const properties = [
    { name: 'title', type: 'string' },
    { name: 'list', type: 'ref', objectType: 'objects.lists', onCreate: { accessControlList: 'extend' } },
  ];
  const body = { name: 'notes', properties, settings: { websocket: true }, accessControlList: { read: everybody } };
  const made = await call('postObjectTypes', 201, { headers: admin, body });
  await call('postObjectTypes', 200, { headers: { 'Enginio-Backend-MasterKey': given('TOKEN') }, body });
  await call('putObjectTypesId', 200, { headers: admin, into: { id: made.id }, body: { properties } });
  await call('getObjectTypesId', 200, { headers: admin, into: { id: 'usergroups' } });
  await call('getObjectTypes', 200, { headers: admin });

  // The demo's own webhook tells of its type alone, this one of nothing that happens here.
  const webhook = { url: 'http://192.0.2.1/', events: ['delete'], objectTypes: ['objects.lists'], headers: { 'X-Key': 'k' } };
  const kept = await call('postWebhooks', 201, { headers: admin, body: webhook });
  const at = { headers: admin, into: { id: kept.id } };
  await call('getWebhooksId', 200, at);
  await call('putWebhooksId', 200, { ...at, body: { headers: kept.headers, events: null } });
  await call('putWebhooksId', 400, { ...at, body: { url: 'nowhere' } });
  const { results } = await call('getWebhooks', 200, { headers: admin });
  const logs = [];
  for (const { id } of results) logs.push(await call('getWebhooksIdDeliveries', 200, { headers: admin, into: { id }, query: { limit: '5' } }));
  assert.ok(logs.some((log) => log.results.length > 0), 'a delivery was looked at');
  await call('deleteWebhooksId', 200, at);
  await call('getWebhooksId', 404, at);
}

// A file in one piece and in two, and what becomes of it.
async function checkFiles(token) {
  const headers = bearer(token);
  const photo = await call('postObjectsType', 201, { into: { type: 'photos' }, headers, body: { title: 'A photo of a cat' } });
  const target = { id: photo.id, objectType: 'objects.photos', propertyName: 'file' };
  const parts = new FormData();
  parts.set('object', JSON.stringify({ targetFileProperty: target, file: { fileName: 'cat.txt' } }));
  parts.set('file', new Blob(['a cat'], { type: 'text/plain' }), 'other.txt');
  const file = await call('postFiles', 201, { headers, parts });
  assert.deepEqual([file.fileName, file.fileSize, file.status], ['cat.txt', 5, 'complete']);
  const at = { into: { id: file.id }, headers };
  await call('getFilesId', 200, at);
  await call('putFilesId', 200, { ...at, body: { fileName: 'kitten.txt' } });
  await call('patchFilesId', 200, { ...at, body: { note: 'seen' } });
  await call('getFiles', 200, { headers, query: { q: '{"fileName":"kitten.txt"}' } });
  const { expiringUrl } = await call('getFilesIdDownloadUrl', 200, at);
  const [, backend, code, name] = new URL(expiringUrl).pathname.match(/^\/v1\/downloads\/([^/]+)\/([^/]+)\/([^/]+)$/);
  const download = { into: { backend, token: code, name } };
  assert.equal(String(await call('getDownloadsBackendTokenName', 200, download)), 'a cat');
  assert.equal(String(await call('getDownloadsBackendTokenName', 206, { ...download, headers: { Range: 'bytes=2-' } })), 'cat');
  await call('getFilesIdDownloadUrl', 404, { ...at, query: { variant: 'none' } });

  const begun = await call('postFiles', 201, { headers, body: { file: { fileName: 'two.bin' } } });
  const chunk = (range, text) => ({ into: { id: begun.id }, headers: { ...headers, 'Content-Range': range }, bytes: Buffer.from(text) });
  assert.equal((await call('putFilesIdChunk', 200, chunk('0-3/6', 'abc'))).status, 'incomplete');
  await call('putFilesIdChunk', 400, chunk('4-6/6', 'ef'));
  assert.equal((await call('putFilesIdChunk', 200, chunk('3-6/6', 'def'))).status, 'complete');
  await call('deleteFilesId', 200, { into: { id: begun.id }, headers: admin });
  await call('postFilesCollect', 200, { headers: admin, body: { olderThanHours: 1 } });
}

async function checkSearch(token) {
  const query = { objectTypes: 'objects.photos', search: '{"phrase":"cat"}' };
  assert.equal((await call('getSearch', 200, { headers: bearer(token), query })).results.length, 1);
  await call('getSearch', 400, { query: { objectTypes: 'objects.photos' } });
}

async function checkFollowing(token) {
  const headers = bearer(token);
  await call('getStreamUrl', 200, { headers, query: { filter: '{"event":"create"}' } });
  const query = { objectType: 'objects.photos', q: '{}', snapshot: 'true' };
  const { eventsUrl } = await call('getLiveUrl', 200, { headers, query });
  assert.match(String(await call('getLive', 200, { query: Object.fromEntries(new URL(eventsUrl).searchParams) })), /^event: /m);
  await call('getLive', 400, { query: { ...query, q: '{' } });
}

async function checkSchema() {
  const schema = await call('getSchema', 200, { headers: admin });
  await call('postSchema', 200, { headers: admin, body: schema });
  await call('postObjectTypes', 201, { headers: admin, body: { name: 'shortlived' } });
  await call('deleteObjectTypesId', 200, { headers: admin, into: { id: 'shortlived' } });

  const body = { objectType: 'objects.photos', property: 'title' };
  const made = await call('postIndexes', 201, { headers: admin, body });
  await call('postIndexes', 200, { headers: admin, body });
  await call('getIndexesId', 200, { headers: admin, into: { id: made.id } });
  await call('getIndexes', 200, { headers: admin });
  await call('deleteIndexesId', 200, { headers: admin, into: { id: made.id } });
  await call('getIndexAdvice', 200, { headers: admin });
  await call('deleteIndexAdvice', 200, { headers: admin });
}

async function checkDeliveries() {
  const { results } = await call('getWebhooks', 200, { headers: admin });
  const [{ id }] = results;
  const log = await call('getWebhooksIdDeliveries', 200, { headers: admin, into: { id }, query: { limit: '1', state: 'delivered' } });
  const at = { headers: admin, into: { id, delivery: log.results[0].id } };
  await call('getWebhooksIdDeliveriesDelivery', 200, at);
  await call('postWebhooksIdDeliveriesDeliveryReplay', 200, at);
  await call('postWebhooksIdReplay', 200, at);
  await call('postWebhooksIdPing', 200, at);
  await call('postWebhooksIdSecret', 200, { ...at, body: { overlapHours: 1 } });
}

// The whole backend goes out, and comes back in its own place.
async function checkMoving() {
  const archive = await call('getExport', 200, { headers: admin });
  const sha256 = crypto.createHash('sha256').update(archive).digest('hex');
  const announced = { headers: admin, body: { bytes: archive.length, sha256 } };
  const { id } = await call('postImports', 201, announced);
  await call('postImports', 200, announced);
  const at = { headers: admin, into: { id } };
  const range = `0-${archive.length}/${archive.length}`;
  await call('putImportsIdChunk', 200, { ...at, headers: { ...admin, 'Content-Range': range }, bytes: archive });
  await call('postImportsIdStart', 200, { ...at, body: { replace: true } });
  await call('getImports', 200, at);
  for (const end = Date.now() + IMPORT_MS; ; await new Promise((done) => setTimeout(done, 50))) {
    const { state, error } = await call('getImportsId', 200, at);
    assert.ok(!error && Date.now() < end, `the import is ${state}: ${JSON.stringify(error)}`);
    if (state === 'done') break;
  }
  await call('deleteImportsId', 200, at);
}

report(async () => {
  await checkDocument();
  const credentials = { username: 'anna', password: 'her secret' };
  const user = await call('postUsers', 201, { body: { ...credentials, email: 'anna@example.org', likes: ['tea'] } });
  const { access_token: token } = await call('postAuthOauth2Token', 200, { body: { grant_type: 'password', ...credentials } });
  await checkObjects(token);
  await checkPeople(user, token);
  await checkSessions(credentials);
  await checkAdministration(token);
  await checkFiles(token);
  await checkSearch(token);
  await checkFollowing(token);
  await checkSchema();
  await checkDeliveries();
  await checkMails(credentials, token);
  await checkMoving();
  await call('deleteUsersId', 200, { into: { id: user.id }, headers: admin });
  return summary();
});
