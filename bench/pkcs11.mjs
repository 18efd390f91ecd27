// npm run bench:pkcs11 [-- --rounds 15]
// `OpenKey.sign` beside a bare `C_SignInit` + `C_SignAsync` loop: the same process, module, key and number of PKCS#11
// sessions, turn by turn. Both begin with a message and hash it; ours also waits in its queue and knows which session is
// free. The bare loop ends with what the token wrote: r and s side by side, in a buffer that the next signature goes into. A
// second one ends where ours does, and every caller must: with DER (of RSA: the signature) in a buffer of its own.
// The thread pool belongs to the process, so each size has one of its own.
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { openKey } from '../dist/index.js';
import { bareSigner, keyUri, MESSAGE, rate, TURN, withToken } from './signing.mjs';
import { machine, median, table } from './stats.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' }, worker: { type: 'string' } } });
const rounds = Number(values.rounds);
const TYPES = ['RSA-2048', 'P-256', 'P-384'];

async function measure(flights) {
  const rows = [];
  for (const type of TYPES) {
    const key = await openKey(keyUri(type, process.env.BENCH_PIN), { isolation: 'in-place' });
    for (const inFlight of flights) {
      const bare = bareSigner(type, inFlight);
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

async function main({ pinFile }) {
  const pools = [
    [4, [1, 2, 3]],
    [9, [8]],
  ];
  const rows = pools.flatMap(([size, flights]) => {
    const env = { ...process.env, UV_THREADPOOL_SIZE: String(size), BENCH_PIN: pinFile };
    const args = [import.meta.filename, '--rounds', values.rounds, '--worker', flights.join(',')];
    const found = JSON.parse(execFileSync(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] }));
    return found.map(([type, ...rest]) => [type, size, ...rest]);
  });
  console.log(`${machine()}, Node ${process.versions.node}, SoftHSM; medians of ${rounds} turns of ${TURN} ms each\n`);
  const rates = ['bare, signatures/s', 'bare with DER', 'OpenKey.sign'];
  const heads = ['key', 'threads', 'in flight', ...rates, 'ratio to bare', 'to bare with DER'];
  const sorted = rows.sort((a, b) => TYPES.indexOf(a[0]) - TYPES.indexOf(b[0]));
  console.log(table(heads, sorted));
}

if (values.worker) console.log(JSON.stringify(await measure(values.worker.split(',').map(Number))));
else await withToken(TYPES, main);
