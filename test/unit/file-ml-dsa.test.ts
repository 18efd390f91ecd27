import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { read } from '../../src/der.ts';
import { withIdentity } from '../../src/identity.ts';
import { startLocalRolesAnywhere } from '../../src/local/index.ts';
import { getCredentials } from '../../src/provider.ts';
import { openKeyBytes, openKeyObject } from '../../src/stores/file/index.ts';
import type { OpenKey } from '../../src/stores/store.ts';
import { vend } from '../helpers/canaries.ts';
import { testUnless } from '../helpers/exercised.ts';
import { pemOf, place } from '../helpers/key-files.ts';
import { CAN_ML_DSA, ML_DSA_VECTORS, makeMlDsaPair, privateKeyOf } from '../helpers/ml-dsa.ts';
import { pfxOf, tlv } from '../helpers/pkcs12-files.ts';
import { failure } from '../stores/conformance.ts';

const mlDsaTest = await testUnless('ml-dsa');
const files = place();

/** ML-DSA private keys may be written in three ways (RFC 9881 §6): these, from what Node writes, which is both. */
function formsOf(key: KeyObject): Record<'seed' | 'expanded' | 'both', Buffer> {
  const both = key.export({ type: 'pkcs8', format: 'der' });
  const [version, algorithm, octets] = partsOf(read(both)?.value);
  const [seed, expanded] = partsOf(read(read(octets as Buffer)?.value as Uint8Array)?.value).map(
    (part) => read(part)?.value as Uint8Array,
  );
  const file = (inner: Buffer): Buffer => tlv(0x30, version as Buffer, algorithm as Buffer, tlv(0x04, inner));
  return { seed: file(tlv(0x80, seed as Buffer)), expanded: file(tlv(0x04, expanded as Buffer)), both };
}

function partsOf(value: Uint8Array | undefined): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let rest = value ?? new Uint8Array(); rest.length > 0; rest = rest.subarray(parts.at(-1)?.length)) {
    parts.push(rest.subarray(0, read(rest)?.end));
  }
  return parts;
}

async function expectSigns(opened: OpenKey, publicKey: KeyObject): Promise<void> {
  const message = Buffer.from('message');
  const [first, second] = [await opened.sign(message), await opened.sign(message, 'SHA-512')];
  for (const signature of [first, second]) expect(verify(null, message, publicKey, signature)).toBe(true);
  expect(Buffer.compare(first, second)).not.toBe(0); // hedged: FIPS 204 §3.4
  expect(opened.publicKey).toEqual(publicKey.export({ type: 'spki', format: 'der' }));
  await opened.close();
}

describe.each(['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'])('%s', (name) => {
  mlDsaTest('as seed, expanded and both: PEM, DER', async () => {
    const { privateKey, publicKey } = makeMlDsaPair(name);
    const forms = formsOf(privateKey);
    expect(forms.seed).toHaveLength(54);
    expect(forms.both.length).toBeGreaterThan(forms.expanded.length);
    for (const der of Object.values(forms)) {
      await expectSigns(await openKeyBytes(der), publicKey);
      await expectSigns(await openKeyBytes(pemOf('PRIVATE KEY', der)), publicKey);
    }
  });

  mlDsaTest('encrypted, in PKCS#12, as a KeyObject', async () => {
    const { privateKey, publicKey } = makeMlDsaPair(name);
    const encryption = { cipher: 'aes-256-cbc', passphrase: 'x' } as const;
    const encrypted = privateKey.export({ type: 'pkcs8', format: 'pem', ...encryption });
    await expectSigns(await openKeyBytes(encrypted, { secret: 'x' }), publicKey);
    await expectSigns(openKeyObject(privateKey), publicKey);

    const keyBag = Buffer.from('060b2a864886f70d010c0a0101', 'hex');
    const data = Buffer.from('06092a864886f70d010701', 'hex');
    const safe = tlv(0x30, tlv(0x30, keyBag, tlv(0xa0, formsOf(privateKey).seed)));
    const pfx = pfxOf(tlv(0x30, tlv(0x30, data, tlv(0xa0, tlv(0x04, safe)))));
    await expectSigns(await openKeyBytes(pfx), publicKey);
  });

  mlDsaTest('a seed that is not that of the expanded key', async () => {
    const { both } = formsOf(makeMlDsaPair(name).privateKey);
    both[both.length - 100] = (both[both.length - 100] as number) ^ 1;
    expect((await failure(openKeyBytes(both))).code).toBe('ERR_KEY_INVALID');
  });

  mlDsaTest('a seed that is known makes the key that is known', async () => {
    const vector = ML_DSA_VECTORS.find((one) => one.name === name);
    if (!vector) throw new Error('there is no such vector');
    const key = privateKeyOf(vector);
    await expectSigns(await openKeyBytes(formsOf(key).seed), createPublicKey(key));
  });

  mlDsaTest('buys a session', async () => {
    const service = await startLocalRolesAnywhere({ vend });
    try {
      const { privateKey, publicKey } = makeMlDsaPair(name);
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      const { certificate } = await service.issue({ publicKey: spki });
      const key = await files.write('key.pem', pemOf('PRIVATE KEY', formsOf(privateKey).seed) + certificate);
      await withIdentity({ key }, async ({ matched }) => expect(matched).toBe(true));
      const { endpoint, trustAnchorArn, profileArn, roleArn } = service;
      const { accountId } = await getCredentials({ key, endpoint, trustAnchorArn, profileArn, roleArn });
      expect(accountId).toBe(service.accountId);
    } finally {
      await service.close();
    }
  });
});

if (!CAN_ML_DSA) {
  test.each(ML_DSA_VECTORS.map(({ name, seed }) => [name, seed]))(
    '%s is refused, naming the Node that has it',
    async (name, seed) => {
      const identifier = { 'ML-DSA-44': '11', 'ML-DSA-65': '12', 'ML-DSA-87': '13' }[name as string];
      const der = Buffer.from(`3034020100300b06096086480165030403${identifier}04228020${seed}`, 'hex');
      for (const content of [der, pemOf('PRIVATE KEY', der)]) {
        const error = await failure(openKeyBytes(content));
        expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
        expect(error.message).toBe(
          `the key data holds an ML-DSA key: ${name} needs Node 24.6 or newer; this is ${process.version}`,
        );
      }
    },
  );
}
