'use strict';
// The published client's calls as promises.

// What a service refused: its status, and the body it explained itself with.
class Refused extends Error {
  constructor(status, body) {
    super(`refused with ${status}: ${JSON.stringify(body)}`);
    this.status = status;
  }
}

// Turns `method(…, callback)` into a promise. The client reports a refusal as its status, and a broken connection as an
// Error.
function call(invoke) {
  return new Promise((resolve, reject) => {
    invoke((error, result) => {
      if (!error) resolve(result);
      else if (typeof error === 'number') reject(new Refused(error, result));
      else reject(error);
    });
  });
}

module.exports = { call, Refused };
