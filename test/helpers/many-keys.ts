import { generateKeyPairSync } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pkcs11js, { type Attribute } from 'pkcs11js';
import { makeCertificate } from './certificate-maker.ts';
import { withRaw } from './raw-pkcs11.ts';
import { setRealEnvironment, type TestToken } from './softhsm.ts';

const P256 = Buffer.from('06082a8648ce3d030107', 'hex');

/** In memory where there is such a place: SoftHSM waits for the disk several times for each object that it makes. */
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/**
 * Put key pairs with certificates on a token: `id 1` with the label `pair 1`, and so on. In a copy of the token, whose
 * files come back afterwards. Nobody may use the module meanwhile.
 */
export function addKeyPairs(token: TestToken, from: number, to: number): void {
  const home = join(token.dir, 'tokens');
  const copy = mkdtempSync(join(FAST, 'holdfast-many-'));
  const conf = join(copy, 'softhsm2.conf');
  try {
    cpSync(home, join(copy, 'tokens'), { recursive: true });
    writeFileSync(
      conf,
      readFileSync(token.conf, 'utf8').replace(home, () => join(copy, 'tokens')),
    );
    setRealEnvironment({ SOFTHSM2_CONF: conf });
    createKeyPairs(token, from, to);
    cpSync(join(copy, 'tokens'), home, { recursive: true });
  } finally {
    setRealEnvironment(token.env);
    rmSync(copy, { recursive: true });
  }
}

function createKeyPairs(token: TestToken, from: number, to: number): void {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '', d = '' } = privateKey.export({ format: 'jwk' });
  const bytes = (text: string): Buffer => Buffer.from(text, 'base64url');
  const point = Buffer.concat([Buffer.of(0x04, 0x41, 0x04), bytes(x), bytes(y)]);
  const certificate = makeCertificate({ subject: 'pair', issuer: 'pairs', publicKey, issuerKey: privateKey });
  const common: Attribute[] = [
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_EC },
    { type: pkcs11js.CKA_EC_PARAMS, value: P256 },
  ];
  const objects: readonly Attribute[][] = [
    [
      ...common,
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
      { type: pkcs11js.CKA_PRIVATE, value: false },
      { type: pkcs11js.CKA_EC_POINT, value: point },
    ],
    [
      ...common,
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
      { type: pkcs11js.CKA_PRIVATE, value: true },
      { type: pkcs11js.CKA_SENSITIVE, value: true },
      { type: pkcs11js.CKA_SIGN, value: true },
      { type: pkcs11js.CKA_VALUE, value: bytes(d) },
    ],
    [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE },
      { type: pkcs11js.CKA_CERTIFICATE_TYPE, value: 0 },
      { type: pkcs11js.CKA_PRIVATE, value: false },
      { type: pkcs11js.CKA_SUBJECT, value: Buffer.from('300f310d300b06035504030c0470616972', 'hex') },
      { type: pkcs11js.CKA_VALUE, value: certificate },
    ],
  ];
  withRaw(token, ({ pkcs11, session }) => {
    for (let number = from; number <= to; number += 1) {
      const name: Attribute[] = [
        { type: pkcs11js.CKA_ID, value: Buffer.from(`id ${number}`) },
        { type: pkcs11js.CKA_LABEL, value: `pair ${number}` },
      ];
      for (const object of objects) pkcs11.C_CreateObject(session, [...object, ...name]);
    }
  });
}
