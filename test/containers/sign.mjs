// Makes a P-256 key in the token that the URI names, signs with it, and prints what is needed to check that.
// argv: URI of the new key, message. The PIN comes on stdin.
import { readFileSync } from 'node:fs';
import { openKey, parseKeyUri, storeOf } from '../../dist/index.js';

const [uri, message] = process.argv.slice(2);
const secret = readFileSync(0, 'utf8');
const store = await storeOf(parseKeyUri(uri));
const made = await store.create(parseKeyUri(uri), { keyType: 'P-256', secret });
const key = await openKey(made, { secret });
const signature = await key.sign(Buffer.from(message));
const hex = (bytes) => Buffer.from(bytes).toString('hex');
console.log(JSON.stringify({ publicKey: hex(key.publicKey), signature: hex(signature), description: key.description }));
await key.close();
