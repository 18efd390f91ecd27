// Any data is a key that signs or an error of ours: every format that is read, damaged in every way.
import { HoldfastError } from '../../dist/index.js';
import { createAuthority } from '../../dist/pki.js';
import { openKeyBytes } from '../../dist/stores/file/index.js';
import { makeKeyFiles, PASSPHRASE } from '../helpers/key-file-maker.mjs';
import { damaged, fuzz } from '../helpers/mutations.mjs';

export const asked = 1_000_000;

const CODES = /^ERR_(KEY_INVALID|KEY_UNSUPPORTED|KEY_AMBIGUOUS|SECRET_WRONG|SIGNING_FAILED)$/;

export async function slice(cases, seed) {
  const { certificate } = await createAuthority({ commonName: 'Root' });
  const files = await makeKeyFiles(certificate);
  for (const { label, der, text } of files) {
    const key = await openKeyBytes(text ?? der, { secret: PASSPHRASE });
    if (!label && !text && key.certificates.length !== 1) throw new Error('the certificate is not found');
  }
  await fuzz(cases, seed, (random) => damaged(random, files), check);
}

async function check(data) {
  try {
    const key = await openKeyBytes(data, { secret: PASSPHRASE });
    await key.sign(Buffer.from('message'));
    await key.close();
  } catch (error) {
    if (!(error instanceof HoldfastError) || !CODES.test(error.code)) throw error;
  }
}
