'use strict';
// A client that knows nothing but a published description: it makes the calls that are in it by their names, and holds
// what it sends and what comes back to the schemas there.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const Ajv = require('ajv/dist/2020');
const { given } = require('./report.cjs');

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];

// A client of the service that `docs/openapi/<service>.json` describes. The headers go with every call.
function clientOf(service, always = {}) {
  const document = JSON.parse(fs.readFileSync(path.join(__dirname, `../../docs/openapi/${service}.json`), 'utf8'));
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
  ajv.addVocabulary(Object.keys(document));
  ajv.addSchema(document, 'described');

  const operations = new Map();
  for (const [address, item] of Object.entries(document.paths)) {
    for (const verb of VERBS.filter((name) => name in item)) operations.set(item[verb].operationId, { address, verb, ...item[verb] });
  }
  const answered = new Set();
  const statuses = new Set();

  function follow(value) {
    return value.$ref ? value.$ref.slice(2).split('/').reduce((place, name) => place[name], document) : value;
  }

  function expectFit(what, schema, value) {
    const target = schema.$ref ? { $ref: `described${schema.$ref}` } : schema;
    const fits = ajv.compile(target);
    assert.ok(fits(value), `${what}: ${ajv.errorsText(fits.errors)}\n${JSON.stringify(value)}`);
  }

  // The request of a call. `body` is sent as JSON, `form` as a form, `parts` as a form with files, `bytes` as they are.
  function asked(operation, expected, { headers, body, form, parts, bytes }) {
    const request = { method: operation.verb.toUpperCase(), headers: { ...always, ...headers } };
    const [type, sent] = [
      ['application/json', body && JSON.stringify(body)],
      ['application/x-www-form-urlencoded', form && new URLSearchParams(form)],
      ['multipart/form-data', parts],
      ['application/octet-stream', bytes],
    ].find(([, value]) => value !== undefined) ?? [];
    if (sent === undefined) return request;
    request.body = sent;
    // Of a form with files the boundary goes into the header, too.
    if (!parts) request.headers['Content-Type'] = type;
    const described = operation.requestBody.content[type];
    assert.ok(described, `${operation.operationId} takes no ${type}`);
    if (expected < 300 && (body ?? form)) expectFit(`${operation.operationId} takes`, described.schema, body ?? form);
    return request;
  }

  // What came: JSON, or bytes; of a stream that does not end, what comes first.
  async function heard(reply, described) {
    if ('application/json' in described) return reply.json();
    if (!('text/event-stream' in described)) return Buffer.from(await reply.arrayBuffer());
    const reader = reply.body.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return Buffer.from(value);
  }

  // Makes a call by its name. `into` fills the path.
  async function call(name, expected, { into = {}, query = {}, headers = {}, ...sent } = {}) {
    const operation = operations.get(name);
    assert.ok(operation, `${name} is not described`);
    const filled = operation.address.replace(/\{(\w+)\}/g, (_, key) => encodeURIComponent(into[key]));
    const url = new URL(filled, given('ADDRESS'));
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    const reply = await fetch(url, asked(operation, expected, { headers, ...sent }));
    const described = operation.responses[reply.status];
    assert.ok(described, `${name} answers ${reply.status}, which is not described`);
    const { content, headers: promised = {} } = follow(described);
    const found = await heard(reply, content);
    assert.equal(reply.status, expected, `${name}: ${JSON.stringify(found)}`);
    if ('application/json' in content) expectFit(`${name} gives`, content['application/json'].schema, found);
    for (const header of Object.keys(promised)) assert.ok(reply.headers.get(header), `${name} has no ${header}`);
    if (expected < 300) answered.add(name);
    statuses.add(expected);
    return found;
  }

  async function checkDocument() {
    const { Validator } = await import('@seriousme/openapi-schema-validator');
    const { valid, errors } = await new Validator().validate(document);
    assert.ok(valid, JSON.stringify(errors));
  }

  // What was done; fails where a call was never made well.
  function summary() {
    assert.deepEqual([...operations.keys()].filter((name) => !answered.has(name)), [], 'nobody made these calls');
    return { calls: answered.size, statuses: [...statuses].sort() };
  }

  return { call, checkDocument, expectFit, summary };
}

module.exports = { clientOf };
