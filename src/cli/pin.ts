import { HoldfastError } from '../errors.ts';
import { parseKeyUri } from '../index.ts';
import { storeOf } from '../stores/index.ts';
import type { Context } from './context.ts';
import { ONE_SHOT, withModule } from './key-flags.ts';

/** `pin retry URI`: what was remembered of PINs that a token refused is forgotten. Nothing is sent. */
export async function pin({ flags, words, output, signal }: Context): Promise<void> {
  const [verb, text] = words;
  // What was written instead may be a PIN.
  if (verb !== 'retry') throw usage('pin has one use, which is "retry"');
  if (text === undefined) throw usage('pin retry wants the URI of a key or a token');
  const uri = parseKeyUri(withModule(text, flags.text('pkcs11-lib')));
  const store = await storeOf(uri);
  if (!store.retryPin) {
    throw new HoldfastError('ERR_STORE_INCAPABLE', `${uri.scheme}: keys have no PIN that anybody remembers`, {
      hint: 'name the key in the token or the TPM: pkcs11:token=NAME, tpm:handle=0x81...',
    });
  }
  const seconds = flags.integer('deadline');
  const { token, forgotten, nowhere } = await store.retryPin(uri, {
    ...ONE_SHOT,
    deadline: seconds === undefined ? undefined : seconds * 1000,
    signal,
    notify: ({ kind, message, hint }) => output.tell(kind, message, hint),
  });
  if (nowhere !== undefined) {
    output.tell('note', `each process remembers by itself here, until it ends: ${nowhere}`);
  }
  if (flags.text('output') === 'json') return output.result(`${JSON.stringify({ token, forgotten })}\n`);
  const lines = forgotten.map((one) => `forgotten: a PIN that the ${token} refused (${one})\n`);
  return output.result(lines.join('') || `nothing to forget: no PIN that the ${token} refused is on record\n`);
}

const usage = (message: string): HoldfastError =>
  new HoldfastError('ERR_USAGE', message, { hint: "write holdfast pin retry 'pkcs11:token=NAME'" });
