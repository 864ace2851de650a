// Node with the package `ws`, as its documentation shows a broadcast.
const http = require("node:http");
const { WebSocket, WebSocketServer } = require("ws");

const tagged = new Set();
const server = http.createServer((request, response) => {
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
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket, request) => {
  if (!request.url.endsWith("/tag")) return;
  tagged.add(socket);
  socket.on("close", () => tagged.delete(socket));
});
// What waits to be accepted should not be what limits.
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
