// `node --import canary-bytes.mjs dist/cli/main.js demo`: the PIN and the credentials that the demo draws at random are
// the canaries of the run (see canaries.ts). It knows them by their lengths, and ends with 1 when one was not drawn.
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { readCanaries } from '../../scripts/canaries.mjs';

if (process.argv[2] === 'demo') {
  const { pin, secretKey, sessionToken } = readCanaries(process.env.HOLDFAST_TEST_CANARIES);
  const planned = new Map([pin, secretKey, sessionToken].map((text) => [bytesOf(text).length, text]));
  const missing = new Set(planned.keys());
  const { randomBytes } = crypto;
  crypto.randomBytes = (size, ...rest) => {
    if (!planned.has(size)) return randomBytes(size, ...rest);
    missing.delete(size);
    return bytesOf(planned.get(size));
  };
  syncBuiltinESMExports();
  process.on('exit', () => {
    if (missing.size === 0) return;
    console.error(`the demo draws no secret of ${[...missing].join(' or ')} bytes any more`);
    process.exitCode = 1;
  });
}

/** The PIN is written in hexadecimal digits, the others in base64. */
function bytesOf(text) {
  return Buffer.from(text, text.length === 16 ? 'hex' : 'base64');
}
