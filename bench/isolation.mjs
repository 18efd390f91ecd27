// npm run bench:isolation [-- --rounds 15 --delay 2000]
// What it costs, and what it is good for, that a PKCS#11 module runs in a process of its own: how late the event loop of the
// program is while each call of the token takes two seconds; opening; signing beside a bare `C_SignInit` + `C_SignAsync` loop.
import { execFileSync, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openKey } from '../dist/index.js';
import { gathering } from '../dist/stores/pkcs11/messages.js';
import { bareSigner, keyUri, logInBare, MESSAGE, MODULE, rate, TURN, withToken } from './signing.mjs';
import { machine, median, table } from './stats.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    delay: { type: 'string', default: '2000' },
    worker: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const TYPES = ['RSA-2048', 'P-256'];
const WAYS = { 'in place': 'in-place', isolated: 'child' };
const IN_FLIGHT = 8;
const CHANNELS = {
  'each by itself': (write) => ({ send: (message) => write([message]) }),
  'what comes together, together': gathering,
};

/** All that opening and signing call. */
const SLOW = ['C_Initialize', 'C_GetInfo', 'C_GetSlotList', 'C_GetSlotInfo', 'C_GetTokenInfo', 'C_GetMechanismList']
  .concat(['C_OpenSession', 'C_Login', 'C_FindObjectsInit', 'C_FindObjects', 'C_FindObjectsFinal'])
  .concat(['C_GetAttributeValue', 'C_SignInit', 'C_Sign']);

/** Milliseconds that a timer came late, one that was due at each millisecond while `work` ran. */
async function latenessDuring(work) {
  const late = [];
  let last = performance.now();
  const note = () => {
    const now = performance.now();
    // A loop that stands still is late for all who wanted it meanwhile, not for one.
    for (let missed = now - last - 1; missed > 0; missed -= 1) late.push(missed);
    last = now;
  };
  const timer = setInterval(note, 1);
  const begun = performance.now();
  await work();
  clearInterval(timer);
  note();
  late.sort((a, b) => a - b);
  const seconds = (performance.now() - begun) / 1000;
  return { p99: late[Math.floor(late.length * 0.99)], most: late.at(-1), seconds };
}

/** What `BENCH_WAY` says, with the module of test/native/fault.c. */
async function loop() {
  // What is loaded late is loaded by now, as in a daemon that has signed before.
  const way = process.env.BENCH_WAY;
  const once = async () => {
    const key = await openKey(keyUri('P-256', process.env.BENCH_PIN, process.env.BENCH_FAULT), {
      isolation: WAYS[way],
      deadline: 600_000,
    });
    await key.sign(MESSAGE);
    return key;
  };
  if (way === 'nothing is done') return latenessDuring(() => wait(10_000));
  writeFileSync(process.env.FAULT_RULES, '');
  await (await once()).close();
  writeFileSync(process.env.FAULT_RULES, SLOW.map((name) => `${name} delay=${values.delay}\n`).join(''));
  let key;
  const found = await latenessDuring(async () => {
    key = await once();
  });
  writeFileSync(process.env.FAULT_RULES, '');
  await key.close();
  return found;
}

/** Milliseconds, by step, turn by turn. */
async function opening() {
  const steps = Object.fromEntries(Object.keys(WAYS).map((way) => [way, { open: [], sign: [], close: [], all: [] }]));
  for (let round = -1; round < rounds; round += 1) {
    for (const [way, isolation] of Object.entries(WAYS)) {
      const begun = performance.now();
      const key = await openKey(keyUri('P-256', process.env.BENCH_PIN), { isolation });
      const opened = performance.now();
      await key.sign(MESSAGE);
      const signed = performance.now();
      await key.close();
      const closed = performance.now();
      if (round < 0) continue;
      const { open, sign, close, all } = steps[way];
      open.push(opened - begun);
      sign.push(signed - opened);
      close.push(closed - signed);
      all.push(closed - begun);
    }
  }
  return Object.entries(steps).map(([way, found]) => [
    way,
    ...Object.values(found).map((times) => median(times).toFixed(1)),
  ]);
}

async function throughput() {
  logInBare(readFileSync(process.env.BENCH_PIN, 'utf8'));
  const rows = [];
  for (const type of TYPES) {
    const key = await openKey(keyUri(type, process.env.BENCH_PIN), { isolation: 'child' });
    const bare = bareSigner(type, IN_FLIGHT);
    const [theirs, ours, ratios] = [[], [], []];
    for (let round = -1; round < rounds; round += 1) {
      const first = await rate(IN_FLIGHT, (index) => bare.sign(index));
      const second = await rate(IN_FLIGHT, () => key.sign(MESSAGE));
      if (round < 0) continue;
      theirs.push(first);
      ours.push(second);
      ratios.push(second / first);
    }
    bare.close();
    await key.close();
    rows.push([type, median(theirs).toFixed(0), median(ours).toFixed(0), median(ratios).toFixed(2)]);
  }
  return rows;
}

/** The bytes of a signature to a process and back, with nothing done there: so many a second is what there is room for. */
async function channel() {
  const rows = [];
  for (const [how, gather] of Object.entries(CHANNELS)) {
    const env = { ...process.env, BENCH_CHANNEL: how };
    const child = fork(import.meta.filename, ['--worker', 'echo'], { env, serialization: 'advanced' });
    const waiting = new Map();
    let last = 0;
    const { send } = gather((messages) => child.send(messages));
    child.on('message', (answers) => {
      for (const { id } of answers) waiting.get(id)();
    });
    const ask = () =>
      new Promise((resolve) => {
        last += 1;
        waiting.set(last, resolve);
        send({ do: 'sign', id: last, message: MESSAGE, hash: undefined, limited: false });
      });
    const rates = [];
    for (let round = -1; round < rounds; round += 1) rates.push(await rate(IN_FLIGHT, ask));
    child.disconnect();
    rows.push([how, median(rates.slice(1)).toFixed(0)]);
  }
  return rows;
}

function echo() {
  const value = Buffer.alloc(71);
  const { send } = CHANNELS[process.env.BENCH_CHANNEL]((messages) => process.send(messages));
  process.on('message', (messages) => {
    for (const { id } of messages) send({ is: 'done', id, value, learnt: undefined });
  });
}

async function main({ place, pinFile }) {
  const worker = (name, env = {}) => {
    const args = [import.meta.filename, '--rounds', values.rounds, '--delay', values.delay, '--worker', name];
    const options = { env: { ...process.env, BENCH_PIN: pinFile, ...env }, stdio: ['ignore', 'pipe', 'inherit'] };
    return JSON.parse(execFileSync(process.execPath, args, options));
  };
  const fault = buildFault(place);
  const loops = ['nothing is done', ...Object.keys(WAYS)].map((way) => {
    const { p99, most, seconds } = worker('loop', { ...fault, BENCH_WAY: way });
    return [way, p99.toFixed(1), most.toFixed(1), seconds.toFixed(0)];
  });
  const opened = worker('opening');
  const signed = worker('throughput', { UV_THREADPOOL_SIZE: '9' });
  const echoed = worker('channel');

  console.log(`${machine()}, Node ${process.versions.node}, SoftHSM; medians of ${rounds} turns\n`);
  console.log(`The event loop while each call of the token takes ${values.delay} ms: open and sign, P-256\n`);
  console.log(table(['module', 'late, p99, ms', 'at most, ms', 'took, s'], loops));
  console.log('\nOne key again and again, P-256\n');
  console.log(table(['module', 'open, ms', 'sign, ms', 'close, ms', 'together, ms'], opened));
  console.log(`\n${IN_FLIGHT} in flight, 9 threads, turns of ${TURN} ms\n`);
  console.log(table(['key', 'bare, signatures/s', 'isolated, signatures/s', 'ratio'], signed));
  console.log('\nThe channel alone, with as many messages in flight\n');
  console.log(table(['sent', 'there and back, messages/s'], echoed));
}

/** @returns the variables that it is reached by */
function buildFault(place) {
  const at = (name) => join(place, name);
  const path = (name) => new URL(`../${name}`, import.meta.url).pathname;
  const flags = ['-shared', '-fPIC', '-O2', '-I', path('node_modules/pkcs11js/includes/pkcs11')];
  execFileSync(process.env.CC ?? 'cc', [...flags, '-o', at('fault.so'), path('test/native/fault.c'), '-ldl']);
  return { BENCH_FAULT: at('fault.so'), FAULT_MODULE: MODULE, FAULT_RULES: at('fault.rules') };
}

const WORKERS = { loop, opening, throughput, channel };
if (values.worker === 'echo') echo();
else if (values.worker) console.log(JSON.stringify(await WORKERS[values.worker]()));
else await withToken(TYPES, main);
