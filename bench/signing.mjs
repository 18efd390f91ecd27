// What the measurements of signing have in common: a token of their own, a bare loop over the driver, and turns.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pkcs11js from 'pkcs11js';
import { parseKeyUri, storeOf } from '../dist/index.js';

export const MODULE = process.env.SOFTHSM2_MODULE ?? '/usr/lib/softhsm/libsofthsm2.so';
export const MESSAGE = randomBytes(300);

/** Milliseconds of one turn. */
export const TURN = 150;

/** Runs `sign` with so many in flight for one turn: signatures a second. */
export async function rate(inFlight, sign) {
  const end = performance.now() + TURN;
  const begun = performance.now();
  let done = 0;
  const lane = async (index) => {
    while (performance.now() < end) {
      await sign(index);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, index) => lane(index)));
  return done / ((performance.now() - begun) / 1000);
}

/**
 * The key's handle and sessions of our own, with a module that this process has initialised and logged in to.
 *
 * @param type the key's, which is its label, too
 */
export function bareSigner(type, inFlight) {
  const token = new pkcs11js.PKCS11();
  token.load(MODULE);
  const slot = slotOf(token);
  const sessions = Array.from({ length: inFlight }, () => token.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION));
  token.C_FindObjectsInit(sessions[0], [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: type },
  ]);
  const [key] = token.C_FindObjects(sessions[0], 1);
  token.C_FindObjectsFinal(sessions[0]);
  const info = Buffer.from('3031300d060960864801650304020105000420', 'hex');
  const mechanism = { mechanism: type.startsWith('RSA') ? pkcs11js.CKM_RSA_PKCS : pkcs11js.CKM_ECDSA };
  const output = sessions.map(() => Buffer.alloc(1024));
  const bare = {
    sign(index) {
      const digest = createHash('sha256').update(MESSAGE).digest();
      const input = type.startsWith('RSA') ? Buffer.concat([info, digest]) : digest;
      token.C_SignInit(sessions[index], mechanism, key);
      return token.C_SignAsync(sessions[index], input, output[index]);
    },
    /** Ends where ours does: with DER, of RSA with the signature, in a buffer of its own. */
    async signFully(index) {
      const signature = await bare.sign(index);
      return type.startsWith('RSA') ? Buffer.from(signature) : derOf(signature);
    },
    close() {
      for (const session of sessions) token.C_CloseSession(session);
    },
  };
  return bare;
}

/** Ecdsa-Sig-Value of curves up to P-384, with as little as it takes. */
function derOf(raw) {
  const half = raw.length / 2;
  const der = Buffer.allocUnsafe(raw.length + 8);
  let at = 2;
  for (let end = half; end <= raw.length; end += half) {
    let first = end - half;
    while (first < end - 1 && raw[first] === 0) first += 1;
    const zero = raw[first] >> 7;
    der[at] = 2;
    der[at + 1] = zero + end - first;
    der[at + 2] = 0;
    at += 2 + zero;
    for (; first < end; first += 1, at += 1) der[at] = raw[first];
  }
  der[0] = 0x30;
  der[1] = at - 2;
  return der.subarray(0, at);
}

/** Logged in as long as the process lives. */
export function logInBare(pin) {
  const token = new pkcs11js.PKCS11();
  token.load(MODULE);
  token.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  token.C_Login(token.C_OpenSession(slotOf(token), pkcs11js.CKF_SERIAL_SESSION), pkcs11js.CKU_USER, pin);
}

const slotOf = (token) => token.C_GetSlotList(true).find((one) => token.C_GetTokenInfo(one).label.trim() === 'bench');

/** With its PIN in a file. */
export const keyUri = (type, pinFile, modulePath = MODULE) =>
  `pkcs11:token=bench;object=${type}?module-path=${modulePath}&pin-source=file:${pinFile}`;

/** A SoftHSM with one token and a key of each type, for child processes, too, while `use` runs. */
export async function withToken(types, use) {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  const pin = randomBytes(4).toString('hex');
  const write = (name, text) => writeFileSync(join(place, name), text, { mode: 0o600 });
  write('softhsm2.conf', `directories.tokendir = ${place}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  write('pin', pin);
  process.env.SOFTHSM2_CONF = join(place, 'softhsm2.conf');
  try {
    execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'bench', '--so-pin', pin, '--pin', pin]);
    for (const keyType of types) {
      const uri = parseKeyUri(`pkcs11:token=bench;object=${keyType}?module-path=${MODULE}`);
      await (await storeOf(uri)).create(uri, { keyType, secret: pin });
    }
    await use({ place, pinFile: join(place, 'pin') });
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
