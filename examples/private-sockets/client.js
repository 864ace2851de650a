'use strict';
// A user at a terminal: signs in, hears of todos, and writes one when given a title.
//
//     node client.js https://APP USER PASSWORD [TITLE]

const { Eds } = require('qtc');
const WebSocket = require('ws');
const { call } = require('./calls');

async function signIn(eds, username, password) {
  const body = JSON.stringify({ grant_type: 'password', username, password });
  const { access_token: token } = await call((done) => eds.rest('POST', '/auth/oauth2/token', { body }, done));
  return token;
}

async function socketOf(app, token) {
  const answer = await fetch(new URL('/sockets', app), {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error.message);
  return new WebSocket(body.uri);
}

function hear(text) {
  const { object, meta } = JSON.parse(text);
  console.log(`heard ${meta.eventName} ${object.id} ${object.title}`);
}

async function main([app, username, password, title]) {
  const { EDS_ADDRESS: address, EDS_BACKEND_ID: backendId } = process.env;
  if (!password || !address || !backendId) {
    throw new Error('Set EDS_ADDRESS and EDS_BACKEND_ID, and call: node client.js APP USER PASSWORD [TITLE]');
  }
  const eds = new Eds({ address, backendId });
  const token = await signIn(eds, username, password);
  const socket = await socketOf(app, token);
  socket.on('message', hear);
  socket.on('close', (code) => {
    console.error(`the socket is closed (${code})`);
    process.exitCode = 1;
  });
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  console.log('connected');
  if (title) {
    const todos = eds.collection('todos');
    await call((done) => todos.insert({ title, completed: false }, { accessToken: token }, done));
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
