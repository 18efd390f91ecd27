// One CreateSession through the library, step by step: what each step costs in a fresh process, in milliseconds.
import { readFileSync } from 'node:fs';

const marks = [['start', performance.now()]];
const mark = (name) => marks.push([name, performance.now()]);
const { endpoint, certificate, keyUri, trustAnchorArn, profileArn, roleArn } = JSON.parse(
  readFileSync(process.argv[2], 'utf8'),
);

const { createSession, openKey, withIdentity } = await import('../dist/index.js');
mark('load');
const key = await openKey(keyUri, { isolation: 'in-place' });
mark('open');
const signer = {
  publicKey: key.publicKey,
  certificates: key.certificates,
  sign: async (message, hash) => {
    const begun = performance.now();
    const signature = await key.sign(message, hash);
    marks.push(['sign', performance.now() - begun]);
    return signature;
  },
};
const before = performance.now();
await withIdentity({ signer, certificate }, (identity) =>
  createSession(identity, { endpoint, trustAnchorArn, profileArn, roleArn }),
);
const requested = performance.now() - before;
await key.close();

const [[, start], [, load], [, open], [, sign]] = marks;
process.stdout.write(JSON.stringify({ start, load: load - start, open: open - load, sign, request: requested - sign }));
