'use strict';
// The published client's files: attaching one to an object, looking at it, and fetching it and its thumbnail.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { Eds } = require('qtc');
const { edsFileDownloadRequest } = require('qtc/lib/common/qtc-http-request.js');
const { report, call, refusal, inTime, given } = require('./report.cjs');

const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret: given('TOKEN') });
const gallery = eds.collection('gallery');
const folder = given('FOLDER');

// The client's calls for bare uploads hand on a body as text; those for JSON as a value.
async function uploadRefusal(status, answered) {
  return JSON.parse(await refusal(status, answered));
}

function attach(object, name, file) {
  return call((done) => gallery.attachFile(object.id, name, path.join(folder, file), done));
}

// What `downloadFile` does, step by step: it uses a module there that it does not load, and always throws. It answers
// when the bytes have come, not when they are written.
async function downloaded(file, length, ...variant) {
  const { expiringUrl } = await call((done) => eds.getFileDownloadUrl(file.id, ...variant, done));
  const written = path.join(folder, `fetched-${variant}-${path.basename(new URL(expiringUrl).pathname)}`);
  const request = { address: expiringUrl, headers: eds.getApiHeaders(), filePath: written };
  await call((done) => edsFileDownloadRequest(request, done));
  await inTime('the file to be written', new Promise((resolve) => {
    const look = () => (fs.existsSync(written) && fs.statSync(written).size >= length
      ? resolve() : setImmediate(look));
    look();
  }));
  return fs.readFileSync(written);
}

async function checkAttach(photo) {
  // Any other status than 201 is a refusal to this client.
  const file = await attach(photo, 'file', 'picture.png');
  assert.equal(file.objectType, 'files');
  assert.equal(file.fileName, 'picture.png');
  assert.equal(file.contentType, 'image/png');
  assert.equal(file.status, 'complete');
  assert.deepEqual(file.targetFileProperty, { id: photo.id, objectType: 'objects.gallery', propertyName: 'file' });
  const after = await call((done) => gallery.findOne(photo.id, done));
  assert.deepEqual(after.file, { id: file.id, objectType: 'files' });
  assert.equal(after.title, photo.title);
  assert.ok(after.updatedAt > photo.updatedAt);
  return file;
}

async function checkInfo(file) {
  const info = await inTime('the thumbnail', (async () => {
    for (;;) {
      const now = await call((done) => eds.getFileInfo(file.id, done));
      if (now.variants.thumbnail.status !== 'processing') {
        return now;
      }
    }
  })());
  assert.equal(info.variants.thumbnail.status, 'complete');
  assert.equal(info.fileSize, fs.statSync(path.join(folder, 'picture.png')).size);
  return info;
}

async function checkDownloads(file) {
  const url = await call((done) => eds.getFileDownloadUrl(file.id, done));
  assert.ok(url.expiringUrl.startsWith(`${given('ADDRESS')}/`), url.expiringUrl);
  assert.equal(path.basename(new URL(url.expiringUrl).pathname), 'picture.png');
  assert.ok(Date.parse(url.expiresAt) > Date.now() + 15 * 60_000);
  const bytes = fs.readFileSync(path.join(folder, 'picture.png'));
  assert.ok(bytes.equals(await downloaded(file, bytes.length)));
  const thumbnail = await downloaded(file, 24, 'thumbnail');
  assert.equal(thumbnail.toString('latin1', 1, 4), 'PNG');
  assert.deepEqual([thumbnail.readUInt32BE(16), thumbnail.readUInt32BE(20)], [20, 20]);
}

// More than fits into a body of any other call.
async function checkLarge(photo) {
  const file = await attach(photo, 'file', 'large.bin');
  assert.equal(file.contentType, 'application/octet-stream');
  assert.equal(file.fileSize, fs.statSync(path.join(folder, 'large.bin')).size);
  const after = await call((done) => gallery.findOne(photo.id, done));
  assert.equal(after.file.id, file.id, 'the second file takes the place of the first');
}

async function checkRefusals() {
  const missing = { id: '51cdbc08989e975ec300772a' };
  const unknown = await uploadRefusal(404, attach(missing, 'file', 'picture.png'));
  assert.equal(unknown.errors[0].reason, 'NotFound');
  await refusal(404, call((done) => eds.getFileInfo(missing.id, done)));
  await refusal(404, call((done) => eds.getFileDownloadUrl(missing.id, done)));
}

report(async () => {
  const photo = await call((done) => gallery.insert({ title: 'Käsi' }, done));
  const file = await checkAttach(photo);
  await checkDownloads(await checkInfo(file));
  await refusal(404, call((done) => eds.getFileDownloadUrl(file.id, 'nothing', done)));
  await checkLarge(photo);
  await checkRefusals();
  return { objects: await call((done) => gallery.count({}, done)) };
});
