// `node --import canary-bytes.mjs dist/cli/main.js demo`: the PIN and the credentials that the demo draws at random are
// the canaries of the run (see canaries.ts). They are the first of their lengths to be drawn; where one of these lengths
// is not drawn at all, it ends with 1.
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { readCanaries } from '../../scripts/canaries.mjs';

if (process.argv[2] === 'demo') {
  const { pin, secretKey, sessionToken } = readCanaries(process.env.HOLDFAST_TEST_CANARIES);
  const planned = new Map([pin, secretKey, sessionToken].map((text) => [bytesOf(text).length, text]));
  const { randomBytes } = crypto;
  crypto.randomBytes = (size, ...rest) => {
    const text = planned.get(size);
    planned.delete(size);
    return text === undefined ? randomBytes(size, ...rest) : bytesOf(text);
  };
  syncBuiltinESMExports();
  process.on('exit', () => {
    if (planned.size === 0) return;
    console.error(`the demo draws no secret of ${[...planned.keys()].join(' or ')} bytes any more`);
    process.exitCode = 1;
  });
}

/** The PIN is written in hexadecimal digits, the others in base64. */
function bytesOf(text) {
  return Buffer.from(text, text.length === 16 ? 'hex' : 'base64');
}
