// The keys of fake-tpm.mjs.
import { createECDH, createHash, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { sized, u8, u16, u32 } from '../../dist/stores/tpm/bytes.js';
import { ALG, CC, OBJECT } from '../../dist/stores/tpm/constants.js';
import { digest, hashOf } from '../../dist/stores/tpm/hashes.js';
import { nameOfArea, readPublicArea } from '../../dist/stores/tpm/public-area.js';
import { ECC_STORAGE, RSA_STORAGE, signingTemplate } from '../../dist/stores/tpm/templates.js';

const P256 = { id: 3, name: 'P-256', openssl: 'prime256v1', size: 32 };
const NONE = Buffer.alloc(0);
const AUTH = Buffer.from('secret');
export const SHA256 = hashOf(ALG.SHA256);

/** The same for every TPM of this process: making them takes longer than a thousand commands. */
export const ECDH = createECDH('prime256v1');
ECDH.setPrivateKey(Buffer.alloc(32, 7));
const POINT = ECDH.getPublicKey();
const EC_UNIQUE = Buffer.concat([sized(POINT.subarray(1, 33)), sized(POINT.subarray(33))]);
export const EC_KEY = createPrivateKey({
  format: 'jwk',
  key: {
    kty: 'EC',
    crv: 'P-256',
    d: ECDH.getPrivateKey('base64url'),
    x: POINT.subarray(1, 33).toString('base64url'),
    y: POINT.subarray(33).toString('base64url'),
  },
});
export const RSA_KEY = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const RSA_UNIQUE = sized(Buffer.from(RSA_KEY.export({ format: 'jwk' }).n, 'base64url'));

/** The one message that is ever signed: signing again and again would be half of the time. */
export const MESSAGE = Buffer.from('message');
export const RSA_SIGNATURE = sized(sign('sha256', MESSAGE, RSA_KEY));
const raw = sign('sha256', MESSAGE, { key: EC_KEY, dsaEncoding: 'ieee-p1363' });
export const EC_SIGNATURE = Buffer.concat([sized(raw.subarray(0, 32)), sized(raw.subarray(32))]);

/** What a template becomes. */
export function objectOf(template, authValue = NONE, parent = NONE) {
  const isRsa = template.readUInt16BE(0) === ALG.RSA;
  const head = template.subarray(0, template.length - (isRsa ? 2 : 4));
  const area = readPublicArea(Buffer.concat([head, isRsa ? RSA_UNIQUE : EC_UNIQUE]));
  const privateBytes = Buffer.concat([createHash('sha256').update(parent).digest(), sized(authValue)]);
  return { area, name: nameOfArea(area), authValue, privateBytes, key: isRsa ? RSA_KEY : EC_KEY };
}

const SIGNS = OBJECT.fixedTPM | OBJECT.fixedParent | OBJECT.sensitiveDataOrigin | OBJECT.sign | OBJECT.noDA;
const OPEN = SIGNS | OBJECT.userWithAuth;
const storage = { ecc: objectOf(ECC_STORAGE.bytes), rsa: objectOf(RSA_STORAGE.bytes) };
const signing = (kind, attributes = OPEN, policy = NONE) => signingTemplate(kind, attributes, policy).bytes;

/** PCRs 0 and 7 of the bank of SHA-256, all zeros, and the policy that wants them and the authValue. */
const PCRS = Buffer.concat([u32(1), u16(ALG.SHA256), u8(3), Buffer.of(0x81, 0, 0)]);
export const PCR_DIGEST = digest(SHA256, Buffer.alloc(64));
const withPcrs = digest(SHA256, Buffer.alloc(32), u32(CC.PolicyPCR), PCRS, PCR_DIGEST);
const POLICY = digest(SHA256, withPcrs, u32(CC.PolicyAuthValue));
export const POLICY_STEPS = [
  { command: CC.PolicyPCR, parameters: Buffer.concat([PCRS, PCR_DIGEST]) },
  { command: CC.PolicyAuthValue, parameters: NONE },
];

/** What is at its persistent handles. */
export const PERSISTENT = new Map([
  [0x81000001, storage.ecc],
  [0x81000002, storage.rsa],
  [0x81010001, objectOf(signing({ curve: P256 }), AUTH)],
  [0x81010002, objectOf(signing({ bits: 2048 }), AUTH)],
  [0x81010003, objectOf(signing({ curve: P256 }, SIGNS, POLICY), AUTH)],
]);

/** Keys that can be loaded: below the owner's storage keys and the persistent ones. */
export const LOADABLE = {
  owner: objectOf(signing({ curve: P256 }), AUTH, storage.ecc.name),
  rsa: objectOf(signing({ bits: 2048 }), NONE, storage.rsa.name),
  policy: objectOf(signing({ curve: P256 }, SIGNS, POLICY), AUTH, storage.ecc.name),
};
