// A process that signs with the key of its argument until it is killed, and says after the first signature that it does.
// With `once` it signs once, and ends without closing anything.
import { openKey } from '../../dist/index.js';

const [, , uri, mode] = process.argv;
const key = await openKey(uri);
await key.sign(Buffer.from('first'));
process.stdout.write('signing\n');
while (mode !== 'once') await key.sign(Buffer.from('again'));
