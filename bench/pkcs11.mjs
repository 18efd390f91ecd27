// npm run bench:pkcs11 [-- --rounds 15]
// `OpenKey.sign` beside a bare `C_SignInit` + `C_SignAsync` loop: the same process, module, key and number of PKCS#11
// sessions, turn by turn. Both begin with a message and hash it; ours also waits in its queue and knows which session is
// free. The bare loop ends with what the token wrote: r and s side by side, in a buffer that the next signature goes into. A
// second one ends where ours does, and every caller must: with DER (of RSA: the signature) in a buffer of its own.
// The thread pool belongs to the process, so each size has one of its own.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pkcs11js from 'pkcs11js';
import { openKey, parseKeyUri, storeOf } from '../dist/index.js';
import { machine, median, table } from './stats.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' }, worker: { type: 'string' } } });
const rounds = Number(values.rounds);
const MODULE = process.env.SOFTHSM2_MODULE ?? '/usr/lib/softhsm/libsofthsm2.so';
const TYPES = ['RSA-2048', 'P-256', 'P-384'];

/** Milliseconds of one turn. */
const TURN = 150;

/** Runs `sign` with so many in flight for one turn: signatures a second. */
async function rate(inFlight, sign) {
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

/** The key's handle and sessions of our own; the process is logged in by the open key. */
function bareSigner(type, label, inFlight) {
  const token = new pkcs11js.PKCS11();
  token.load(MODULE);
  const [slot] = token.C_GetSlotList(true).filter((one) => token.C_GetTokenInfo(one).label.trim() === 'bench');
  const sessions = Array.from({ length: inFlight }, () => token.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION));
  token.C_FindObjectsInit(sessions[0], [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: label },
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

const MESSAGE = randomBytes(300);

async function measure(flights) {
  const rows = [];
  for (const type of TYPES) {
    const key = await openKey(
      `pkcs11:token=bench;object=${type}?module-path=${MODULE}&pin-source=file:${process.env.BENCH_PIN}`,
      { isolation: 'in-place' },
    );
    for (const inFlight of flights) {
      const bare = bareSigner(type, type, inFlight);
      const turns = [];
      for (let round = -1; round < rounds; round += 1) {
        const turn = {
          bare: await rate(inFlight, (index) => bare.sign(index)),
          ours: await rate(inFlight, () => key.sign(MESSAGE)),
          full: await rate(inFlight, (index) => bare.signFully(index)),
        };
        if (round >= 0) turns.push(turn);
      }
      bare.close();
      const of = (value) => median(turns.map(value));
      const rates = [of(({ bare }) => bare), of(({ full }) => full), of(({ ours }) => ours)];
      const ratios = [of(({ ours, bare }) => ours / bare), of(({ ours, full }) => ours / full)];
      rows.push([type, inFlight, ...rates.map((one) => one.toFixed(0)), ...ratios.map((one) => one.toFixed(2))]);
    }
    await key.close();
  }
  return rows;
}

async function main() {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
  const pin = randomBytes(4).toString('hex');
  const write = (name, text) => writeFileSync(join(place, name), text, { mode: 0o600 });
  write('softhsm2.conf', `directories.tokendir = ${place}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  write('pin', pin);
  process.env.SOFTHSM2_CONF = join(place, 'softhsm2.conf');
  try {
    execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'bench', '--so-pin', pin, '--pin', pin]);
    for (const keyType of TYPES) {
      const uri = parseKeyUri(`pkcs11:token=bench;object=${keyType}?module-path=${MODULE}`);
      await (await storeOf(uri)).create(uri, { keyType, secret: pin });
    }
    const pools = [
      [4, [1, 2, 3]],
      [9, [8]],
    ];
    const rows = pools.flatMap(([size, flights]) => {
      const env = { ...process.env, UV_THREADPOOL_SIZE: String(size), BENCH_PIN: join(place, 'pin') };
      const args = [import.meta.filename, '--rounds', values.rounds, '--worker', flights.join(',')];
      const found = JSON.parse(execFileSync(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] }));
      return found.map(([type, ...rest]) => [type, size, ...rest]);
    });
    console.log(
      `${machine()}, Node ${process.versions.node}, SoftHSM; medians of ${rounds} turns of ${TURN} ms each\n`,
    );
    const rate = ['bare, signatures/s', 'bare with DER', 'OpenKey.sign'];
    const heads = ['key', 'threads', 'in flight', ...rate, 'ratio to bare', 'to bare with DER'];
    console.log(
      table(
        heads,
        rows.sort((a, b) => TYPES.indexOf(a[0]) - TYPES.indexOf(b[0])),
      ),
    );
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

if (values.worker) console.log(JSON.stringify(await measure(values.worker.split(',').map(Number))));
else await main();
