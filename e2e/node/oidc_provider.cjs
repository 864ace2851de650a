'use strict';
// Published providers of OpenID Connect, each with its own sign-in and consent pages, and the same people in all: one
// for each way to sign and to prove who a client is. Prints their issuers, hears at which address the server that
// signs people in by them is, and says that it is ready. Ends with its standard input.

const { generateKeyPairSync } = require('node:crypto');
const http = require('node:http');
const readline = require('node:readline');
const { given } = require('./report.cjs');

const PEOPLE = {
  anna: { email: 'anna@example.org', email_verified: true, name: 'Anna K' },
  bob: { email: 'bob@example.org', email_verified: true, name: 'Bob' },
  // Typed another's address, and never showed that it is theirs.
  mallory: { email: given('VICTIM'), email_verified: false, name: 'Mallory' },
};

const PROVIDERS = [
  { name: 'rs256', signs: 'RS256', proof: 'client_secret_basic', key: ['rsa', { modulusLength: 2048 }] },
  { name: 'es256', signs: 'ES256', proof: 'client_secret_post', key: ['ec', { namedCurve: 'P-256' }] },
  { name: 'eddsa', signs: 'EdDSA', proof: 'none', key: ['ed25519', {}] },
  { name: 'ps256', signs: 'PS256', proof: 'client_secret_basic', key: ['rsa', { modulusLength: 2048 }] },
];

async function listen() {
  const server = http.createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return server;
}

// Another site than the server's, as in life: cookies that keep to their site must do so here.
function issuerOf(server) {
  return `http://localhost:${server.address().port}`;
}

function configuration({ name, signs, proof, key }, base) {
  const [kind, options] = key;
  const { privateKey } = generateKeyPairSync(kind, options);
  return {
    clients: [{
      client_id: 'pilvi',
      ...(proof !== 'none' && { client_secret: given('SECRET') }),
      redirect_uris: [`${base}/console/oidc/${name}/callback`],
      token_endpoint_auth_method: proof,
      id_token_signed_response_alg: signs,
    }],
    clientAuthMethods: [proof],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: signs, kid: name }] },
    enabledJWA: { idTokenSigningAlgValues: [signs] },
    claims: { email: ['email', 'email_verified'], profile: ['name'] },
    // One of them puts into its tokens what the others say on a page of their own.
    conformIdTokenClaims: name !== 'es256',
    features: { devInteractions: { enabled: true } },
    cookies: { keys: ['a key for a test'] },
    findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    ttl: { Interaction: 600, Grant: 600, Session: 600, AccessToken: 600, IdToken: 600 },
  };
}

async function main() {
  const { default: Provider } = await import('oidc-provider');
  const servers = await Promise.all(PROVIDERS.map(listen));
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('close', () => process.exit(0));
  lines.once('line', (base) => {
    PROVIDERS.forEach((provider, at) => {
      const made = new Provider(issuerOf(servers[at]), configuration(provider, base));
      servers[at].on('request', made.callback());
    });
    console.log('ready');
  });
  console.log(JSON.stringify(PROVIDERS.map(({ name, proof }, at) => ({
    name, issuer: issuerOf(servers[at]), secret: proof === 'none' ? '' : given('SECRET'),
  }))));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
