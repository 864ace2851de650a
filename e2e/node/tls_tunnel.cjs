'use strict';
// Passes on what comes in the clear over TLS, byte for byte and end for end, so that a test that writes raw frames
// speaks to the TLS door with OpenSSL's own records. Prints its port, and runs until it is killed.

const net = require('node:net');
const tls = require('node:tls');
const { given } = require('./report.cjs');

const [host, port] = given('TARGET').split(':');

function passOn(from, to) {
  from.on('data', (bytes) => {
    if (!to.write(bytes)) from.pause();
  });
  to.on('drain', () => from.resume());
  from.on('end', () => to.end());
  from.on('error', () => to.destroy());
  from.on('close', (failed) => {
    if (failed) to.destroy();
  });
}

const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (plain) => {
  const secure = tls.connect({ host, port: Number(port), ALPNProtocols: ['http/1.1'], allowHalfOpen: true });
  secure.setNoDelay(true);
  passOn(plain, secure);
  passOn(secure, plain);
});

listener.listen(0, '127.0.0.1', () => process.stdout.write(`${listener.address().port}\n`));
