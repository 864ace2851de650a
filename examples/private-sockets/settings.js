'use strict';
// What the app is told from outside, in environment variables.

const REQUIRED = {
  EDS_ADDRESS: 'the data service, such as https://eds.localhost',
  EDS_BACKEND_ID: 'the id of the data backend whose users sign in',
  MWS_ADDRESS: 'the WebSocket service, such as https://mws-eu-1.localhost',
  MWS_GATEWAY_ID: 'the id of the gateway',
  MWS_SECRET: 'a security token of the gateway',
  WEBHOOK_SECRET: 'a secret of your own, which the webhook must show',
};

// All that is missing is told at once.
function settings(environment) {
  const missing = Object.keys(REQUIRED).filter((name) => !environment[name]);
  if (missing.length > 0) {
    const lines = missing.map((name) => `  ${name}  ${REQUIRED[name]}`);
    throw new Error(`These variables are missing:\n${lines.join('\n')}\nSet them with: pilvi mar envs set NAME=VALUE`);
  }
  const port = Number(environment.PORT ?? 8080);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error('PORT must be a number up to 65535.');
  return { ...Object.fromEntries(Object.keys(REQUIRED).map((name) => [name, environment[name]])), PORT: port };
}

module.exports = { settings };
