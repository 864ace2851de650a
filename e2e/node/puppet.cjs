'use strict';
// What the clients on a string share (`puppet_*.cjs`): they do what each line of their input says, and say what they
// hear, one socket at a time. The lines stand in `qt/web-sockets/main.cpp`.

const readline = require('node:readline');

const SHOWN_MAX = 64;

function tell(line) {
  process.stdout.write(`${line.trim()}\n`);
}

// What was heard, in a few characters.
function mark(bytes) {
  if (bytes.length === 0) return '-';
  if (bytes.length <= SHOWN_MAX) return Buffer.from(bytes).toString('hex');
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return `${bytes.length}:${sum}`;
}

function letters(count) {
  return 'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(count / 26)).slice(0, count);
}

// Hands each line to the verb that it begins with, one after the other, until the input ends.
async function obey(verbs) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, ...rest] = line.split(' ');
    if (!verbs[verb]) throw new Error(`${line} is not understood`);
    await verbs[verb](...rest);
  }
}

module.exports = { tell, mark, letters, obey };
