// Any data is certificates or an error of ours, and so is all that is asked of a certificate afterwards.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { checkLeaf } from '../../dist/certificate.js';
import { buildChain, HoldfastError, readCertificates } from '../../dist/index.js';
import { createAuthority } from '../../dist/pki.js';
import { damaged, fuzz, pemOf } from '../helpers/mutations.mjs';

export const asked = 1_000_000;

const NOW = new Date();

export async function slice(cases, seed) {
  const { files, root } = await seeds();
  await fuzz(
    cases,
    seed,
    (random) => damaged(random, files),
    (data) => check(data, root),
  );
}

/** Leaves of every kind of key, a CA, and bundles. */
async function seeds() {
  const authority = await createAuthority({ commonName: 'Root' });
  const below = await createAuthority({ commonName: 'Intermediate', issuer: authority });
  const keys = [
    ['rsa', { modulusLength: 1024 }],
    ['ec', { namedCurve: 'P-256' }],
    ['ec', { namedCurve: 'P-521' }],
    ['ed25519', {}],
  ].map(([type, options]) => generateKeyPairSync(type, options).publicKey.export({ type: 'spki', format: 'der' }));
  const issue = (publicKey, options) => below.issue({ commonName: 'leaf', publicKey, ...options });
  const ders = [
    ...(await Promise.all(keys.map((key) => issue(key)))),
    await issue(keys[1], { subject: 'CN=web,OU=a+L=b,O=Ex\\,ample', dnsNames: ['a.example'], ipAddresses: ['::1'] }),
    await issue(keys[1], { keyUsages: [], extendedKeyUsages: ['1.3.6.1.5.5.7.3.2'] }),
    below.certificate,
    authority.certificate,
  ].map((der) => Buffer.from(der));
  const bundle = Buffer.concat(ders.map((der) => pemOf('CERTIFICATE', der)));
  const files = [...ders.map((der) => ({ label: 'CERTIFICATE', der })), { text: bundle }];
  return { files, root: readCertificates(ders.at(-1), 'the root') };
}

function check(data, root) {
  const certificates = typed(() => readCertificates(data, 'the data')) ?? [];
  for (const certificate of certificates) {
    typed(() => checkLeaf(certificate, NOW));
    assert.match(certificate.serialNumber, /^-?\d+$/);
    assert.ok(!Number.isNaN(certificate.notAfter.getTime() + certificate.notBefore.getTime()));
    assert.equal(certificate.verify(Buffer.from('message'), Buffer.alloc(64)), false);
    assert.equal(typeof certificate.isIssuedBy(root[0]), 'boolean');
  }
  const [leaf] = certificates;
  if (leaf) assert.ok(typed(() => buildChain(leaf, [...certificates, ...root], NOW)).length <= 5);
}

/** What `work` returns; undefined when it throws an error of ours about certificates. */
function typed(work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof HoldfastError && error.code.startsWith('ERR_CERTIFICATE_')) return undefined;
    throw error;
  }
}
