'use strict';
// Who hears what. A socket carries a tag for its user and for each of the user's groups; an event goes to the tags of
// those who may read what has changed.

const { Eds, Mws } = require('qtc');
const { call } = require('./calls');

const EVERYBODY = 'aclSubject.*';

class Sockets {
  constructor(settings) {
    this.settings = settings;
    this.mws = new Mws({
      address: settings.MWS_ADDRESS,
      gatewayId: settings.MWS_GATEWAY_ID,
      secret: settings.MWS_SECRET,
    });
  }

  // The address of a socket for the user whose access token this is. It serves once, and only for a few minutes.
  async open(accessToken) {
    const user = await this.userOf(accessToken);
    const groups = (user.usergroups ?? []).map((group) => `usergroup:${group.id}`);
    return call((done) => this.mws.createSocket([`user:${user.id}`, ...groups], done));
  }

  // The data service knows whose token it is; nobody can claim to be somebody else.
  userOf(accessToken) {
    const { EDS_ADDRESS: address, EDS_BACKEND_ID: backendId } = this.settings;
    const eds = new Eds({ address, backendId, secret: accessToken });
    return call((done) => eds.rest('GET', '/user', {}, done));
  }

  // Passes an event on to those who may read the object.
  async tell({ payload, receivers }) {
    const to = audience(receivers);
    if (to.tags?.length === 0) return;
    const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
    await call((done) => this.mws.send(text, to, done));
  }
}

// Receivers as the webhook names them, as the gateway's.
function audience(receivers) {
  const readers = receivers.map(({ objectType, id }) => `${objectType}.${id}`);
  if (readers.includes(EVERYBODY)) return { sockets: ['*'] };
  const tags = receivers.flatMap(({ objectType, id }) => {
    if (objectType === 'users') return [`user:${id}`];
    if (objectType === 'usergroups') return [`usergroup:${id}`];
    return [];
  });
  return { tags };
}

module.exports = { Sockets, audience };
