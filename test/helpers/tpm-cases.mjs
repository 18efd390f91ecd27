// What is done with a TPM that may say anything: each command alone, whole visits, and the octets of a connection.
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { parseKeyUri } from '../../dist/index.js';
import { readAddress } from '../../dist/stores/tpm/address.js';
import { createKey, persistKey, removeKey } from '../../dist/stores/tpm/administer.js';
import * as use from '../../dist/stores/tpm/commands.js';
import { ALG, RH } from '../../dist/stores/tpm/constants.js';
import { hashOf } from '../../dist/stores/tpm/hashes.js';
import { listAt } from '../../dist/stores/tpm/list.js';
import { readLockout } from '../../dist/stores/tpm/lockout.js';
import { publicKeyAt } from '../../dist/stores/tpm/look.js';
import * as make from '../../dist/stores/tpm/make-commands.js';
import { openAt } from '../../dist/stores/tpm/open.js';
import { pcrSelection, policyDigest, showPolicy } from '../../dist/stores/tpm/policy.js';
import { keyObjectOf } from '../../dist/stores/tpm/public-area.js';
import { makeSalt } from '../../dist/stores/tpm/salt.js';
import { schemeFor, signatureOf } from '../../dist/stores/tpm/signature.js';
import { connectionOver, MSSIM, RAW } from '../../dist/stores/tpm/socket.js';
import { throwAwayStorage } from '../../dist/stores/tpm/storage.js';
import { ECC_STORAGE, RSA_STORAGE } from '../../dist/stores/tpm/templates.js';
import { writeKeyFile } from '../../dist/stores/tpm/write-key-file.js';
import { LOADABLE, MESSAGE, PERSISTENT, POLICY_STEPS } from './fake-tpm-keys.mjs';

const SECRET = Buffer.from('secret');
const NONE = new Uint8Array();
const DIGEST = Buffer.alloc(32, 3);
const at = (handle) => ({ handle, ...PERSISTENT.get(handle) });
const [ECC, RSA] = [at(0x81000001), at(0x81000002)];
const PCRS = pcrSelection('sha256:0,7').bytes;
const everything = (session) => ({ session, authValue: NONE, encryptCommand: true, encryptResponse: true });

const signWith = async (tpm, key, session) => {
  const authorization = { session, authValue: SECRET, encryptCommand: session !== undefined };
  const scheme = schemeFor(key.area, ALG.SHA256);
  return signatureOf(await use.sign(tpm, key, DIGEST, scheme, authorization), key.area, ALG.SHA256);
};

const saltedWith = (key) => (tpm) => use.startSession(tpm, 'HMAC', ALG.SHA256, makeSalt(key, tpm.random));

async function inPolicySession(tpm, work) {
  const session = await use.startSession(tpm, 'POLICY');
  return work(session);
}

/** One command each, or few: `(tpm, session)`. */
export const COMMANDS = {
  readEcc: async (tpm) => keyObjectOf((await use.readPublic(tpm, 0x81010001)).area),
  readRsa: async (tpm) => keyObjectOf((await use.readPublic(tpm, 0x81010002)).area),
  saltOfWhatIsRead: async (tpm) => makeSalt(await use.readPublic(tpm, 0x81000002), tpm.random),
  primary: (tpm) => use.createPrimary(tpm, RH.OWNER, ECC_STORAGE, { authValue: NONE }),
  primaryInSession: (tpm, session) => use.createPrimary(tpm, RH.NULL, RSA_STORAGE, everything(session)),
  throwAway: async (tpm) => makeSalt(await throwAwayStorage(tpm), tpm.random),
  load: (tpm) => use.load(tpm, ECC, LOADABLE.owner, { authValue: NONE }),
  loadInSession: (tpm, session) => use.load(tpm, RSA, LOADABLE.rsa, everything(session)),
  signEcc: (tpm) => signWith(tpm, at(0x81010001)),
  signRsa: (tpm) => signWith(tpm, at(0x81010002)),
  signEccInSession: (tpm, session) => signWith(tpm, at(0x81010001), session),
  signRsaInSession: (tpm, session) => signWith(tpm, at(0x81010002), session),
  saltedEcc: saltedWith(ECC),
  saltedRsa: saltedWith(RSA),
  trial: (tpm, session) =>
    use
      .startSession(tpm, 'TRIAL')
      .then((trial) => use.checkAuth(tpm, at(0x81010001), trial, { session, authValue: SECRET })),
  policy: (tpm) =>
    inPolicySession(tpm, async (session) => {
      await showPolicy(tpm, session, { steps: POLICY_STEPS, wantsAuth: true });
      return policyDigest(tpm, session);
    }),
  lockout: readLockout,
  handles: (tpm) => use.handles(tpm, 0x81000000),
  curves: use.curves,
  pcrs: (tpm) => make.pcrDigest(tpm, PCRS, hashOf(ALG.SHA256)),
  create: (tpm, session) => make.create(tpm, ECC, RSA_STORAGE, SECRET, { session, authValue: NONE }),
  createPlain: (tpm) => make.create(tpm, ECC, ECC_STORAGE, SECRET, { authValue: NONE }),
  evict: (tpm, session) => make.evict(tpm, ECC, 0x81000001, { session, authValue: NONE }),
  startup: use.startup,
};

/** Those whose whole result, but for handles, is proven by a session. */
export const PROVEN = ['primaryInSession', 'loadInSession', 'signEccInSession', 'signRsaInSession', 'create'];

/** Key files as they are written. */
export const KEY_FILES = {
  owner: { ...LOADABLE.owner, parent: RH.OWNER, policy: [], emptyAuth: false, description: undefined },
  rsa: { ...LOADABLE.rsa, parent: 0x81000002, policy: [], emptyAuth: true, description: 'below RSA' },
  policy: { ...LOADABLE.policy, parent: 0x81000001, policy: POLICY_STEPS, emptyAuth: false, description: undefined },
};

export const textOf = (name) => writeKeyFile(KEY_FILES[name]);

/**
 * Whole visits: `(device, salted)`. Nobody can make a right signature of a wrong answer, so what is signed in salted
 * sessions over a damaged bus is right.
 */
export function flowsIn(dir) {
  for (const name of Object.keys(KEY_FILES)) writeFileSync(join(dir, name), textOf(name));
  const addressOf = (uri, device, path) => ({ ...readAddress(parseKeyUri(uri), {}, path), device });
  const LIMIT = { deadline: 2000 };

  const signs = (uri, genuine) => async (device, isTrue) => {
    const key = await openAt(addressOf(uri, device), LIMIT);
    try {
      const signature = await key.sign(MESSAGE);
      if (!isTrue) return;
      assert.deepEqual(key.publicKey, keyObjectOf(genuine.area).export({ type: 'spki', format: 'der' }));
      const publicKey = createPublicKey({ key: Buffer.from(key.publicKey), format: 'der', type: 'spki' });
      assert.ok(verify('sha256', MESSAGE, publicKey, signature), 'a signature is wrong');
    } finally {
      await key.close();
    }
  };
  const [ecc, rsa, pcrs] = [0x81010001, 0x81010002, 0x81010003].map((handle) => PERSISTENT.get(handle));
  const salted = {
    handle: signs('tpm:handle=0x81010001?pin-value=secret', ecc),
    rsa: signs('tpm:handle=0x81010002?pin-value=secret', rsa),
    policy: signs('tpm:handle=0x81010003?pin-value=secret&pcr=sha256:0,7', pcrs),
    ownerFile: signs(`tpm:file=${join(dir, 'owner')}?pin-value=secret`, LOADABLE.owner),
    rsaFile: signs(`tpm:file=${join(dir, 'rsa')}`, LOADABLE.rsa),
    policyFile: signs(`tpm:file=${join(dir, 'policy')}?pin-value=secret`, LOADABLE.policy),
  };
  const plain = {
    plainHandle: signs('tpm:handle=0x81010001?pin-value=secret&session=password', ecc),
    plainFile: signs(`tpm:file=${join(dir, 'owner')}?pin-value=secret&session=password`, LOADABLE.owner),
    list: (device) => listAt(addressOf('tpm:', device), LIMIT),
    readPublic: (device) => publicKeyAt(addressOf('tpm:handle=0x81010002', device), LIMIT),
    create: (device) =>
      createKey(addressOf('tpm:handle=0x81010009;parent=owner?pin-value=new&pcr=sha256:0,7', device, ['parent']), {
        keyType: 'P-256',
        ...LIMIT,
      }),
    async createFile(device) {
      const file = join(dir, 'made');
      try {
        const uri = `tpm:file=${file};parent=0x81000002`;
        await createKey(addressOf(uri, device, ['parent']), { keyType: 'P-256', ...LIMIT });
        assert.ok(existsSync(file));
      } finally {
        rmSync(file, { force: true });
      }
    },
    persist: (device) => persistKey(addressOf(`tpm:file=${join(dir, 'rsa')}`, device), 0x81010009, LIMIT),
    remove: (device) => removeKey(addressOf('tpm:handle=0x81010001?owner-pin-value=', device), LIMIT),
  };
  return { salted, plain };
}

/** Two commands over a connection that says `octets`, in pieces, and then hangs up. */
export async function overStream(random, octets, isMssim) {
  const stream = new Duplex({ read() {}, write: (_, __, done) => done() });
  const connection = connectionOver(stream, 'TPM of the test', isMssim ? MSSIM : RAW);
  try {
    const first = connection.send(Buffer.alloc(12));
    for (let at = 0; at < octets.length; ) {
      const end = at + 1 + random.below(octets.length);
      stream.push(octets.subarray(at, end));
      at = end;
    }
    stream.on('end', () => stream.destroy());
    stream.push(null);
    await first;
    await connection.send(Buffer.alloc(12));
  } finally {
    connection.close();
  }
}
