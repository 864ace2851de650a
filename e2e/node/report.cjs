'use strict';
// What every script shares: callbacks as promises, waiting with a deadline, and the report that the Rust side reads.

const WAIT_MS = 15_000;

// Runs a script's work, prints its result as one line of JSON, and ends the process either way: open sockets and
// kept-alive connections must not hold it.
function report(work) {
  work().then(
    (result) => {
      process.stdout.write(`${JSON.stringify(result ?? {})}\n`, () => process.exit(0));
    },
    (error) => {
      process.stderr.write(`${error.stack ?? error}\n`, () => process.exit(1));
    },
  );
}

// A refusal as the old clients hand it on: the status and the parsed body.
class Refused extends Error {
  constructor(status, body) {
    super(`refused with ${status}: ${JSON.stringify(body)}`);
    this.status = status;
    this.body = body;
  }
}

// Turns `method(…, callback)` into a promise.
function call(invoke) {
  const answered = new Promise((resolve, reject) => {
    invoke((error, result) => {
      if (error) {
        reject(typeof error === 'number' ? new Refused(error, result) : error);
      } else {
        resolve(result);
      }
    });
  });
  return inTime('an answer', answered);
}

// Expects a refusal with this status and returns its body.
async function refusal(status, answered) {
  let result;
  try {
    result = await answered;
  } catch (error) {
    if (error instanceof Refused && error.status === status) {
      return error.body;
    }
    throw error;
  }
  throw new Error(`expected a refusal with ${status}, got ${JSON.stringify(result)}`);
}

// Fails when a promise takes too long.
function inTime(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${WAIT_MS} ms in vain for ${what}`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// The variable that the Rust side sets.
function given(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`the variable ${name} is missing`);
  }
  return value;
}

// Collects what an emitter emits, and hands it out in order.
class Inbox {
  constructor(emitter, event) {
    this.waiting = [];
    this.seen = [];
    emitter.on(event, (...values) => {
      const taker = this.waiting.shift();
      if (taker) {
        taker(values);
      } else {
        this.seen.push(values);
      }
    });
  }

  // The arguments of the next event.
  next() {
    if (this.seen.length > 0) {
      return Promise.resolve(this.seen.shift());
    }
    return inTime('an event', new Promise((resolve) => this.waiting.push(resolve)));
  }

  // The next message as text: today's `ws` hands out buffers.
  async text() {
    const [data] = await this.next();
    return String(data);
  }
}

module.exports = { report, call, refusal, inTime, given, Inbox };
