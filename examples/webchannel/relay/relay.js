'use strict';
// One publisher, many pages. The publisher has one WebSocket to us, through which we pass what each page says and what it
// is told:
//
//     to the publisher    {"page": 7, "event": "joined"}   {"page": 7, "message": "…"}   {"page": 7, "event": "left"}
//     from the publisher  {"page": 7, "message": "…"}
//
// What is inside a message is between a page and the publisher.

// A page that comes while nobody publishes, and one whose publisher goes, may come again.
const TRY_AGAIN = 1013;
const POLICY = 1008;
const REPLACED = 4000;

const PAGES_MAX = 1000;
// What may wait for somebody who does not read.
const WAITING_BYTES_MAX = 4 << 20;

class Relay {
  constructor() {
    this.publisher = null;
    this.pages = new Map();
    this.lastNumber = 0;
  }

  // The program came. One that came earlier may be half dead, so the new one takes its place.
  publish(socket) {
    this.publisher?.close(REPLACED, 'another publisher came');
    this.publisher = socket;
    this.sendPagesAway();
    socket.on('message', (data) => {
      if (this.publisher === socket) this.answer(socket, data);
    });
    socket.on('close', () => {
      if (this.publisher !== socket) return;
      this.publisher = null;
      this.sendPagesAway();
    });
  }

  join(socket) {
    if (!this.publisher) return socket.close(TRY_AGAIN, 'nobody publishes yet');
    if (this.pages.size >= PAGES_MAX) return socket.close(TRY_AGAIN, 'there are too many pages');
    const page = ++this.lastNumber;
    this.pages.set(page, socket);
    this.toPublisher({ page, event: 'joined' });
    socket.on('message', (data) => {
      if (this.pages.has(page)) this.toPublisher({ page, message: data.toString() });
    });
    socket.on('close', () => {
      if (this.pages.delete(page)) this.toPublisher({ page, event: 'left' });
    });
  }

  // Passes on to one page what the publisher tells it.
  answer(publisher, data) {
    let envelope;
    try {
      envelope = JSON.parse(data.toString());
    } catch {
      envelope = null;
    }
    if (typeof envelope?.message !== 'string') return publisher.close(POLICY, 'expected {"page", "message"}');
    // The page may have left meanwhile.
    const socket = this.pages.get(envelope.page);
    if (socket) send(socket, envelope.message);
  }

  toPublisher(envelope) {
    if (this.publisher) send(this.publisher, JSON.stringify(envelope));
  }

  // What these pages know was told by a publisher that is gone.
  sendPagesAway() {
    const pages = [...this.pages.values()];
    this.pages.clear();
    for (const socket of pages) socket.close(TRY_AGAIN, 'the publisher has gone');
  }
}

function send(socket, text) {
  if (socket.bufferedAmount > WAITING_BYTES_MAX) socket.terminate();
  else socket.send(text);
}

module.exports = { Relay };
