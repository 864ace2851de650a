'use strict';
// The published library of the Standard Webhooks specification checks what arrived at a webhook's target.

const assert = require('node:assert/strict');
const { Webhook } = require('standardwebhooks');
const { report, given } = require('./report.cjs');

const { body, headers } = JSON.parse(given('ARRIVED'));
const secrets = JSON.parse(given('SECRETS'));
const wrong = JSON.parse(given('WRONG_SECRETS'));

report(async () => {
  for (const secret of secrets) {
    assert.deepEqual(new Webhook(secret).verify(body, headers), JSON.parse(body));
    assert.throws(() => new Webhook(secret).verify(`${body} `, headers), /No matching signature/);
    assert.throws(() => new Webhook(secret).verify(body, { ...headers, 'webhook-id': 'another' }), /No matching signature/);
    const late = { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) + 1) };
    assert.throws(() => new Webhook(secret).verify(body, late), /No matching signature/);
  }
  for (const secret of wrong) {
    assert.throws(() => new Webhook(secret).verify(body, headers), /No matching signature/);
  }
  return { verified: secrets.length, refused: wrong.length };
});
