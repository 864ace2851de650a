// Node with the package `ws`, as its documentation shows a broadcast.
// Arguments: the port, and for sockets under TLS another port, the certificate and its key.
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocket, WebSocketServer } = require("ws");

const [port, securePort, certificate, key] = process.argv.slice(2);
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const tagged = new Set();

function answer(request, response) {
  if (request.method !== "POST") return response.end("a WebSocket server");
  const receivers = request.url.endsWith("/tag") ? tagged : sockets.clients;
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const message = Buffer.concat(chunks);
    for (const socket of receivers) {
      if (socket.readyState === WebSocket.OPEN) socket.send(message, { binary: false });
    }
    response.writeHead(204).end();
  });
}

function upgrade(request, connection, head) {
  sockets.handleUpgrade(request, connection, head, (socket) => sockets.emit("connection", socket, request));
}

sockets.on("connection", (socket, request) => {
  if (!request.url.endsWith("/tag")) return;
  tagged.add(socket);
  socket.on("close", () => tagged.delete(socket));
});
// What waits to be accepted should not be what limits.
const listen = (server, at) =>
  server.on("upgrade", upgrade).listen({ host: "127.0.0.1", port: Number(at), backlog: 4096 });
if (securePort) {
  const tls = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  listen(https.createServer(tls, answer), securePort);
}
listen(http.createServer(answer), port);
