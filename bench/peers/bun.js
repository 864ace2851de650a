// Bun's WebSocket server as its documentation shows it: one topic for everybody, one for the tag.
// Arguments: the port, and for sockets under TLS another port, the certificate and its key.
const [port, securePort, certificate, key] = process.argv.slice(2);
const servers = [];
const options = {
  hostname: "127.0.0.1",
  async fetch(request, server) {
    const tagged = request.url.endsWith("/tag");
    if (request.method === "POST") {
      const message = await request.text();
      for (const each of servers) each.publish(tagged ? "tag" : "all", message);
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
};
if (securePort) {
  const tls = { cert: Bun.file(certificate), key: Bun.file(key) };
  servers.push(Bun.serve({ ...options, port: Number(securePort), tls }));
}
servers.push(Bun.serve({ ...options, port: Number(port) }));
console.log(`listens on ${port}`);
