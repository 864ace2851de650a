'use strict';
// Two users of the app `private-sockets`: each hears of their own todos, and of those that the other lets them read.

const assert = require('node:assert/strict');
const { Eds } = require('qtc');
const { report, call, given } = require('./report.cjs');
const { open, request } = require('./apps.cjs');

const APP = given('APP');
const eds = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID') });
const todos = eds.collection('todos');

class User {
  static async register(username) {
    const password = `korvapuusti of ${username}`;
    const { id } = await call((done) => eds.users.insert({ username, password }, done));
    const body = JSON.stringify({ grant_type: 'password', username, password });
    const { access_token: token } = await call((done) => eds.rest('POST', '/auth/oauth2/token', { body }, done));
    return new User(id, token);
  }

  constructor(id, token) {
    this.id = id;
    this.token = token;
    this.mine = { accessToken: token };
  }

  async listen() {
    const headers = { Authorization: `Bearer ${this.token}` };
    const reply = await request('POST', `${APP}/sockets`, { headers });
    assert.equal(reply.status, 201, JSON.stringify(reply.body));
    assert.deepEqual(reply.body.tags, [`user:${this.id}`]);
    const uri = new URL(reply.body.uri);
    assert.equal(uri.protocol, 'wss:');
    const { socket, messages } = await open(uri);
    this.socket = socket;
    this.messages = messages;
  }

  write(title) {
    return call((done) => todos.insert({ title, completed: false }, this.mine, done));
  }

  // Expects this and nothing before it.
  async hears(event, title) {
    const { object, meta } = JSON.parse(await this.messages.text());
    assert.deepEqual([meta.eventName, object.title], [event, title]);
  }

  // The published class has no call for access lists; its `rest` takes any, with the token that it was made with.
  share(todo, reader) {
    const own = new Eds({ address: given('ADDRESS'), backendId: given('BACKEND_ID'), secret: this.token });
    const body = JSON.stringify({ read: [{ id: reader.id, objectType: 'users' }] });
    return call((done) => own.rest('PUT', `/objects/todos/${todo.id}/access`, { body }, done));
  }
}

async function checkStrangers() {
  const nobody = await request('POST', `${APP}/sockets`);
  assert.equal(nobody.status, 401);
  const stale = await request('POST', `${APP}/sockets`, { headers: { Authorization: 'Bearer stale' } });
  assert.equal(stale.status, 401);
  const body = JSON.stringify({ payload: { forged: true }, receivers: [{ id: '*', objectType: 'aclSubject' }] });
  const forged = await request('POST', `${APP}/webhook`, { body, headers: { 'Content-Length': Buffer.byteLength(body) } });
  assert.equal(forged.status, 401);
}

report(async () => {
  const [anna, bea] = [await User.register('anna'), await User.register('bea')];
  await checkStrangers();
  await anna.listen();
  await bea.listen();

  const milk = await anna.write('Bring milk');
  await anna.hears('create', 'Bring milk');
  await bea.write('Ring the bell');
  // Had Bea heard of the milk, it would have come first.
  await bea.hears('create', 'Ring the bell');

  await anna.share(milk, bea);
  await call((done) => todos.update(milk.id, { title: 'Bring oat milk' }, anna.mine, done));
  await anna.hears('update', 'Bring oat milk');
  await bea.hears('update', 'Bring oat milk');
  await call((done) => todos.remove(milk.id, anna.mine, done));
  await anna.hears('delete', 'Bring oat milk');
  await bea.hears('delete', 'Bring oat milk');
  anna.socket.close();
  bea.socket.close();
  return { heard: 6 };
});
