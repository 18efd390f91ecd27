import { constants, createHash, createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import pkcs11js, { type Attribute, type RsaPSS } from 'pkcs11js';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeySpec } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { type RawPkcs11, withRaw } from '../helpers/raw-pkcs11.ts';
import type { TestKey } from '../stores/conformance.ts';
import type { Mechanism } from './gaps.ts';
import { type TestModule, uriOn } from './module.ts';

export const YES = 'yes';

/** Try something: `yes`, what it returned instead, or the return value that the module gave. */
export async function attempt(what: () => unknown): Promise<string> {
  try {
    const answer = await what();
    return typeof answer === 'string' ? answer : YES;
  } catch (thrown) {
    const name = /CKR_[A-Z_0-9]+/.exec(`${(thrown as Error).message} ${String((thrown as Error).cause)}`)?.[0];
    if (name === undefined) throw thrown;
    return name;
  }
}

const verifiesWith = (key: KeyObject, message: Uint8Array, signature: Uint8Array): void => {
  if (!verify('sha256', message, key, signature)) throw new Error('the signature does not verify');
};

/** Our own way to make a key: it signs, and its public half fits. */
export async function makes(module: TestModule, keyType: KeySpec): Promise<void> {
  const secret = module.pin;
  const uri = await pkcs11.create(parseKeyUri(uriOn(module, { object: `made ${keyType}` })), { keyType, secret });
  const key = await pkcs11.open(uri, { secret });
  try {
    if (key.publicKey === undefined) throw new Error('the new key shows no public half');
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: 'der', type: 'spki' });
    const message = randomBytes(100);
    verifiesWith(publicKey, message, await key.sign(message));
  } finally {
    await key.close();
  }
}

const CERTIFIED = { object: 'certified' };

/** A certificate and its issuer beside a new key, read again without a login. */
export async function putsCertificates(module: TestModule, keyType: KeySpec): Promise<void> {
  const secret = module.pin;
  const uri = await pkcs11.create(parseKeyUri(uriOn(module, CERTIFIED)), { keyType, secret });
  const key = await pkcs11.open(uri, { secret });
  await key.close();
  const publicKey = key.publicKey as Uint8Array;
  const { certificate, intermediates } = await makeIdentity({
    intermediates: 1,
    keyPair: { publicKey, privateKey: undefined as never, pem: '' },
  });
  await pkcs11.putCertificate(uri, [certificate, ...intermediates], { secret });
  const there = (await pkcs11.readCertificates(uri, {})).map((der) => Buffer.from(der).toString('hex'));
  const put = [certificate, ...intermediates].map((der) => Buffer.from(der).toString('hex'));
  if (put.some((der) => !there.includes(der))) throw new Error(`${put.length} were put, ${there.length} are there`);
}

/** The certificate that `putsCertificates` put beside the key, and nothing else. */
export async function removesCertificates(module: TestModule): Promise<void> {
  const uri = parseKeyUri(uriOn(module, CERTIFIED));
  await pkcs11.removeCertificate(uri, { secret: module.pin });
  const left = await pkcs11.readCertificates(uri, {});
  if (left.length > 0) throw new Error(`${left.length} certificates are left`);
  await (await pkcs11.open(uri, { secret: module.pin })).close();
}

const PSS: RsaPSS = {
  type: pkcs11js.CK_PARAMS_RSA_PSS,
  hashAlg: pkcs11js.CKM_SHA256,
  mgf: pkcs11js.CKG_MGF1_SHA256,
  saltLen: 32,
};

/** DER of a DigestInfo for SHA-256 up to the digest. */
const DIGEST_INFO = Buffer.from('3031300d060960864801650304020105000420', 'hex');

const sha256 = (message: Uint8Array): Buffer => createHash('sha256').update(message).digest();

/** One signature with a mechanism, without holdfast, checked by node:crypto. */
export function signsWith(module: TestModule, mechanism: Mechanism, key: TestKey): void {
  const message = randomBytes(100);
  const isPss = mechanism.endsWith('_PSS');
  const isHashing = mechanism.includes('SHA256');
  const input = isHashing
    ? message
    : Buffer.concat([mechanism === 'CKM_RSA_PKCS' ? DIGEST_INFO : Buffer.alloc(0), sha256(message)]);
  withRaw(module, (raw) => {
    const { pkcs11: token, session } = raw;
    const handle = privateKeyOf(raw, key);
    token.C_SignInit(session, { mechanism: pkcs11js[mechanism], ...(isPss ? { parameter: PSS } : {}) }, handle);
    const signature = token.C_Sign(session, input, Buffer.alloc(1024));
    const options = isPss
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
      : mechanism.includes('EC')
        ? { dsaEncoding: 'ieee-p1363' as const }
        : {};
    if (!verify('sha256', message, { key: key.publicKey, ...options }, signature)) {
      throw new Error('the signature does not verify');
    }
  });
}

function privateKeyOf(raw: RawPkcs11, { uri }: TestKey): Buffer {
  const id = parseKeyUri(uri).path.get('id');
  const [handle] = raw.find([
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_ID, value: Buffer.from(id as Uint8Array) },
  ]);
  if (handle === undefined) throw new Error(`no private key of ${uri}`);
  return handle;
}

/** A key that wants its PIN for every signature, and holdfast's answer to that: one stored PIN is enough. */
export async function authenticatesAlways(module: TestModule, type: 'EC' | 'RSA'): Promise<string> {
  const id = Buffer.from('always');
  const common: Attribute[] = [
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_ID, value: id },
    { type: pkcs11js.CKA_LABEL, value: 'always' },
  ];
  const [mechanism, kind]: [number, Attribute[]] =
    type === 'EC'
      ? [
          pkcs11js.CKM_EC_KEY_PAIR_GEN,
          [{ type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
        ]
      : [
          pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN,
          [
            { type: pkcs11js.CKA_MODULUS_BITS, value: 2048 },
            { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
          ],
        ];
  const isSet = withRaw(module, ({ pkcs11: token, session }) => {
    const { privateKey } = token.C_GenerateKeyPair(
      session,
      { mechanism },
      [...common, ...kind, { type: pkcs11js.CKA_VERIFY, value: true }],
      [
        ...common,
        { type: pkcs11js.CKA_PRIVATE, value: true },
        { type: pkcs11js.CKA_SENSITIVE, value: true },
        { type: pkcs11js.CKA_SIGN, value: true },
        { type: pkcs11js.CKA_ALWAYS_AUTHENTICATE, value: true },
      ],
    );
    const [read] = token.C_GetAttributeValue(session, privateKey, [{ type: pkcs11js.CKA_ALWAYS_AUTHENTICATE }]);
    return read?.value[0] === 1;
  });
  await module.settle?.();
  if (!isSet) return 'the attribute is lost';
  const key = await pkcs11.open(parseKeyUri(uriOn(module, { object: 'always' })), { secret: module.pin });
  try {
    if (!key.attended) throw new Error('holdfast takes it for a key that signs unasked');
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey as Uint8Array), format: 'der', type: 'spki' });
    for (const message of [randomBytes(10), randomBytes(10)]) {
      verifiesWith(publicKey, message, await key.sign(message));
    }
  } finally {
    await key.close();
  }
  return YES;
}

/** What a token says of its PIN and its answer to a wrong one. */
export interface WrongPin {
  readonly answer: number;
  readonly flags: number;
}

/**
 * Send wrong PINs without holdfast, six at most.
 *
 * @param isEnough called after each with what the token said
 */
export function sendWrongPins(module: TestModule, isEnough: (seen: WrongPin) => boolean): WrongPin[] {
  const wrong = module.pin.replaceAll(/./g, 'z');
  return withRaw(module, ({ pkcs11: token, session }) => {
    token.C_Logout(session);
    const { slotID } = token.C_GetSessionInfo(session);
    const seen: WrongPin[] = [];
    while (seen.length < 6) {
      const answer = answerOf(() => token.C_Login(session, pkcs11js.CKU_USER, wrong));
      const one = { answer, flags: token.C_GetTokenInfo(slotID).flags };
      seen.push(one);
      if (isEnough(one)) break;
    }
    return seen;
  });
}

function answerOf(call: () => void): number {
  try {
    call();
    return 0;
  } catch (error) {
    return (error as { code: number }).code;
  }
}
