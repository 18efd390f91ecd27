// Opens keys through the built package, one after the other, and says how it went. argv: key URIs, and perhaps
// `--deadline MS` before them.
import { HoldfastError, openKey, parseKeyUri } from '../../dist/index.js';

const args = process.argv.slice(2);
const deadline = args[0] === '--deadline' ? Number(args.splice(0, 2)[1]) : undefined;
const parsed = new Map(args.map((text) => [text, parseKeyUri(text)]));
for (const text of args) {
  try {
    const key = await openKey(parsed.get(text), { deadline });
    const signature = await key.sign(Buffer.from('message'));
    await key.close();
    console.log(`signed ${Buffer.from(signature).toString('base64')}`);
  } catch (error) {
    console.log(error instanceof HoldfastError ? `${error.code} ${error.message}` : `UNTYPED ${String(error)}`);
  }
}
