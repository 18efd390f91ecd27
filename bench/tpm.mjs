// npm run bench:tpm [-- --rounds 61]
// `OpenKey.sign` of a TPM key beside a bare replay, turn by turn with the same swtpm over the same Unix socket. What is
// replayed was recorded once from ours with password sessions: the commands of opening, then TPM2_Sign again and again, byte
// by byte the same, with nothing done between an answer and the next command. Salted sessions are ours alone; so is
// `tpm2_sign`, a process for each signature, everybody's. swtpm serves one connection at a time: each turn begins when
// its key is loaded. Turns are short and many: what else a machine does disturbs whole turns, and a ratio is the median of
// those of turns that follow one another. The second table has the time of the processors instead, of this process and of
// swtpm together, which wait for each other: what it would be on a machine of their own. Ours lets others have the TPM once a second, which no turn sees: what it costs to
// come back is measured beside.
import { execFile } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { openKey, parseKeyUri } from '../dist/index.js';
import { create, persist } from '../dist/stores/tpm/index.js';
import { skipped, startAlone } from '../test/helpers/swtpm-alone.mjs';
import { machine, median, table } from './stats.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '61' } } });
const rounds = Number(values.rounds);

/** Milliseconds. */
const TURN = 250;
/** Turns that do not count, until the compiler has seen it all. */
const WARM = 8;
const MESSAGE = randomBytes(300);
const TYPES = ['P-256', 'RSA-2048'];
const TPM2_SIGN = 0x15d;

/** Runs `sign` for one turn: times a second, and microseconds of the processors for each. */
async function rate(sign) {
  await sign();
  const [begun, before] = [performance.now(), processorTime()];
  let done = 0;
  for (; performance.now() < begun + TURN; done += 1) await sign();
  return { rate: done / ((performance.now() - begun) / 1000), each: (processorTime() - before) / done };
}

/** Microseconds, of this process and of swtpm. */
function processorTime() {
  const { user, system } = process.cpuUsage();
  return user + system + Number(readFileSync(`/proc/${tpm.pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

/** A connection without any check: `send` gives what comes next. */
async function bareConnection(path) {
  const socket = connect(path);
  await once(socket, 'connect');
  let resolve;
  let received = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    if (received.length < 6 || received.length < received.readUInt32BE(2)) return;
    const response = received;
    received = Buffer.alloc(0);
    resolve(response);
  });
  const send = (command) =>
    new Promise((done) => {
      resolve = done;
      socket.write(command);
    });
  const close = async () => {
    socket.end();
    await once(socket, 'close');
  };
  return { send, close };
}

/** What goes by while a key is opened and signs once: the commands, in order. */
async function record(tpm, path, search) {
  const commands = [];
  const way = join(tpm.dir, 'recorder');
  const server = createServer((client) => {
    const onward = connect(tpm.socket);
    client.on('data', (command) => commands.push(command));
    client.pipe(onward).pipe(client);
  }).listen(way);
  await once(server, 'listening');
  const key = await openKey(`tpm:${path}?device=${way}${search}`);
  await key.sign(MESSAGE);
  await key.close();
  server.close();
  const first = commands.findIndex((command) => command.readUInt32BE(6) === TPM2_SIGN);
  if (first < 0 || commands.some((command) => command.readUInt32BE(2) !== command.length)) {
    throw new Error('the commands were not recorded one by one');
  }
  return { opening: commands.slice(0, first), signing: commands[first], closing: commands.slice(first + 1) };
}

async function bareTurn(tpm, { opening, signing, closing }) {
  const { send, close } = await bareConnection(tpm.socket);
  const good = async (command) => {
    const response = await send(command);
    if (response.readUInt32BE(6) !== 0) throw new Error(`0x${response.readUInt32BE(6).toString(16)}`);
  };
  for (const command of opening) await good(command);
  const result = await rate(() => good(signing));
  for (const command of closing) await good(command);
  await close();
  return result;
}

/** How long an idle key takes that has to be loaded again, milliseconds. */
async function reloading(uri) {
  const key = await openKey(uri);
  await key.sign(MESSAGE);
  await wait(100);
  const begun = performance.now();
  await key.sign(MESSAGE);
  const took = performance.now() - begun;
  await key.close();
  return took;
}

async function ourTurn(uri) {
  const key = await openKey(uri);
  const result = await rate(() => key.sign(MESSAGE));
  await key.close();
  return result;
}

async function toolTurn(tpm, type, handle) {
  const digest = join(tpm.dir, 'digest');
  writeFileSync(digest, createHash('sha256').update(MESSAGE).digest());
  const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:path=${tpm.socket}`, TSS2_LOG: 'all+NONE' };
  const scheme = type === 'P-256' ? 'ecdsa' : 'rsassa';
  const args = ['-c', handle, '-g', 'sha256', '-s', scheme, '-d', digest, '-o', join(tpm.dir, 'signature')];
  const result = await rate(() => promisify(execFile)('tpm2_sign', args, { env }));
  await tpm.tool('tpm2_flushcontext', '-l');
  return result;
}

if (skipped) throw new Error(skipped);
const tpm = await startAlone();
try {
  const [rows, processors] = [[], []];
  for (const [index, type] of TYPES.entries()) {
    const path = `file=${tpm.dir}/${type}`;
    const uri = `tpm:${path}?${tpm.query}`;
    const handle = `0x8101000${index}`;
    await create(parseKeyUri(uri), { keyType: type });
    await persist(parseKeyUri(uri), Number(handle));
    const recorded = await record(tpm, path, '&session=password');
    const turns = [];
    for (let round = -WARM; round < rounds; round += 1) {
      const contest = Object.entries({
        bare: () => bareTurn(tpm, recorded),
        password: () => ourTurn(`${uri}&session=password`),
        salted: () => ourTurn(uri),
        tool: () => toolTurn(tpm, type, handle),
      });
      const turn = { reload: await reloading(uri) };
      // In another order each time: what comes before, and what else runs on the machine, counts.
      while (contest.length > 0) {
        const [[name, run]] = contest.splice(randomInt(contest.length), 1);
        turn[name] = await run();
      }
      if (round >= 0) turns.push(turn);
    }
    const of = (value) => median(turns.map(value));
    const names = ['bare', 'password', 'salted', 'tool'];
    const ratios = [
      of(({ password, bare }) => password.rate / bare.rate),
      of(({ salted, bare }) => salted.rate / bare.rate),
      of(({ salted, tool }) => salted.rate / tool.rate),
    ].map((ratio) => ratio.toFixed(2));
    const reload = of((turn) => turn.reload).toFixed(1);
    rows.push([type, ...names.map((name) => of((turn) => turn[name].rate).toFixed(0)), ...ratios, reload]);
    const each = names.slice(0, 3).map((name) => of((turn) => turn[name].each));
    const shares = [
      of(({ password, bare }) => bare.each / password.each),
      of(({ salted, bare }) => bare.each / salted.each),
    ];
    processors.push([type, ...each.map((one) => one.toFixed(0)), ...shares.map((share) => share.toFixed(2))]);
  }
  console.log(`${machine()}, Node ${process.versions.node}, swtpm; medians of ${rounds} turns of ${TURN} ms each\n`);
  const heads = ['key', 'bare', 'password session', 'salted, encrypted'];
  const compared = ['password to bare', 'salted to bare'];
  console.log('Signatures a second\n');
  console.log(table([...heads, '`tpm2_sign`', ...compared, 'salted to `tpm2_sign`', 'loaded again, ms'], rows));
  console.log('\nMicroseconds of the processors for a signature, ours and of swtpm\n');
  console.log(table([...heads, ...compared], processors));
} finally {
  await tpm.stop();
}
