const fs = require("fs");
const [module_, server, token, path, digest] = process.argv.slice(1);
const tus = require(module_);

const file = fs.readFileSync(path);
const options = (more) => ({
  endpoint: server + "/api/v1/uploads",
  headers: { Authorization: "Bearer " + token },
  metadata: { sha256: digest, name: "a b" },
  chunkSize: 100_000,
  retryDelays: null,
  ...more,
});

const run = (more) =>
  new Promise((done, failed) => {
    const upload = new tus.Upload(file, options({ onError: failed, onSuccess: () => done(upload), ...more(() => upload, done) }));
    upload.start();
  });

(async () => {
  // One that is ended on purpose is gone from the server.
  const ended = await run((upload, done) => ({
    onChunkComplete: (_, sent) => {
      if (sent >= 200_000) upload().abort(true).then(() => done(upload()));
    },
  }));
  const head = { method: "HEAD", headers: { Authorization: "Bearer " + token, "Tus-Resumable": "1.0.0" } };
  const left = await fetch(ended.url, head);
  if (left.status !== 404 && left.status !== 410) throw new Error("it is still there: " + left.status);
  // The first bytes come with the creation; after three pieces the client is gone.
  const first = await run((upload, done) => ({
    uploadDataDuringCreation: true,
    onChunkComplete: (_, sent) => {
      if (sent >= 300_000) upload().abort().then(() => done(upload()));
    },
  }));
  // Another one goes on from where it is.
  let began = -1;
  await run(() => ({
    uploadUrl: first.url,
    onChunkComplete: (size, sent) => {
      if (began < 0) began = sent - size;
    },
  }));
  if (began < 300_000) throw new Error("it began at " + began);
  // One that is here need not be sent.
  let sent = 0;
  await run(() => ({ uploadUrl: first.url, onChunkComplete: (size) => (sent += size) }));
  if (sent !== 0) throw new Error(sent + " bytes were sent again");
  // The server speaks of what it can do.
  const answer = await fetch(server + "/api/v1/uploads", { method: "OPTIONS" });
  for (const extension of ["creation", "creation-with-upload", "checksum", "termination", "expiration"])
    if (!answer.headers.get("tus-extension").split(",").includes(extension)) throw new Error("no " + extension);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
