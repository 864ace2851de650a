// Bun's WebSocket server as its documentation shows it: one topic for everybody, one for the tag.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  async fetch(request, server) {
    const tagged = request.url.endsWith("/tag");
    if (request.method === "POST") {
      server.publish(tagged ? "tag" : "all", await request.text());
      return new Response(null, { status: 204 });
    }
    if (server.upgrade(request, { data: { tagged } })) return undefined;
    return new Response("a WebSocket server");
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe("all");
      if (socket.data.tagged) socket.subscribe("tag");
    },
    message() {},
  },
});
console.log(`listens on ${server.port}`);
