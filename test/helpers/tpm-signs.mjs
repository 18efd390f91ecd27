// node tpm-signs.mjs KEY-URI: open a key and sign with it until somebody ends it. Says when it has begun.
import { writeSync } from 'node:fs';
import { openKey } from '../../dist/index.js';

const key = await openKey(process.argv[2]);
for (let signed = 0; ; signed += 1) {
  await key.sign(Buffer.from(String(signed)));
  if (signed === 0) writeSync(1, 'signs\n');
}
