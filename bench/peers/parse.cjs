// Parse Server on PostgreSQL, with the settings of its documentation's quick start; with `live` behind the arguments, with
// its LiveQuery server in the same process.
const express = require("express");
const { ParseServer } = require("parse-server");

const [port, database, live] = process.argv.slice(2);
const main = async () => {
  const parse = new ParseServer({
    databaseURI: database,
    appId: "bench",
    masterKey: "bench-master",
    serverURL: `http://127.0.0.1:${port}/parse`,
    allowClientClassCreation: true,
    logLevel: "error",
    silent: true,
    ...(live && { liveQuery: { classNames: ["Item"] } }),
  });
  await parse.start();
  const app = express();
  app.use("/parse", parse.app);
  const server = app.listen(Number(port), "127.0.0.1");
  if (live) {
    await ParseServer.createLiveQueryServer(server);
  }
};
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
