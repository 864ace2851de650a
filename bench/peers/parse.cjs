// Parse Server on PostgreSQL, with the settings of its documentation's quick start.
const express = require("express");
const { ParseServer } = require("parse-server");

const [port, database] = process.argv.slice(2);
const main = async () => {
  const parse = new ParseServer({
    databaseURI: database,
    appId: "bench",
    masterKey: "bench-master",
    serverURL: `http://127.0.0.1:${port}/parse`,
    allowClientClassCreation: true,
    logLevel: "error",
    silent: true,
  });
  await parse.start();
  const app = express();
  app.use("/parse", parse.app);
  app.listen(Number(port), "127.0.0.1");
};
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
