// npm run bench:cold [-- --runs 31] [-- --nodes 20,22,24]
// What one credential costs from a cold start, beside the least that can buy it (bare.mjs), on the same key, against the
// same local service, interleaved; and out of the shared cache, beside the least that can read and print a file. Then the
// same session step by step through the library (phases.mjs).
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { openKey, parseKeyUri, storeOf } from '../dist/index.js';
import { startLocalRolesAnywhere } from '../dist/local/index.js';
import { nodeBinary } from '../scripts/nodes.mjs';
import { machine, median, table } from './stats.mjs';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '31' }, nodes: { type: 'string', default: '20,22,24' } },
});
const runs = Number(values.runs);
const place = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
const write = (name, text) => {
  const path = join(place, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};
const execute = promisify(execFile);
const MODULE = process.env.SOFTHSM2_MODULE ?? '/usr/lib/softhsm/libsofthsm2.so';

/** Where the shared cache lies; what it has never seen is bought. */
const runtime = process.platform === 'linux' ? mkdtempSync('/dev/shm/holdfast-bench-') : undefined;
const forget = () => runtime && rmSync(join(runtime, 'holdfast'), { recursive: true, force: true });

const local = await startLocalRolesAnywhere({ tls: true });
const { AWS_CA_BUNDLE: _ours, ...inherited } = process.env; // a bundle of the machine's would be read by one of the two only
const env = { ...inherited, NODE_EXTRA_CA_CERTS: write('ca.pem', local.caBundle), XDG_RUNTIME_DIR: runtime };
const arns = { trustAnchorArn: local.trustAnchorArn, profileArn: local.profileArn, roleArn: local.roleArn };

/** One way to keep a key: the arguments of the CLI and the description that bare.mjs and phases.mjs read. */
async function setUp(name, keyUri, publicKey, bare) {
  const certificate = write(`${name}-cert.pem`, (await local.issue({ publicKey })).certificate);
  const config = write(
    `${name}.json`,
    JSON.stringify({ endpoint: local.endpoint, certificate, keyUri, ...arns, ...bare }),
  );
  const flags = ['--endpoint', local.endpoint, '--certificate', certificate, '--private-key', keyUri];
  const names = [
    '--trust-anchor-arn',
    local.trustAnchorArn,
    '--profile-arn',
    local.profileArn,
    '--role-arn',
    local.roleArn,
  ];
  return { name, config, args: ['dist/cli/main.js', 'credential-process', ...flags, ...names] };
}

async function fileKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = write('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
  return setUp('file', key, publicKey.export({ type: 'spki', format: 'der' }), { key });
}

async function tokenKey() {
  write('softhsm2.conf', `directories.tokendir = ${place}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF = env.SOFTHSM2_CONF = join(place, 'softhsm2.conf');
  const pin = randomBytes(4).toString('hex');
  await execute('softhsm2-util', ['--init-token', '--free', '--label', 'bench', '--so-pin', pin, '--pin', pin], {
    env,
  });
  const uri = `pkcs11:token=bench;object=key?module-path=${MODULE}&pin-source=file:${write('pin', pin)}`;
  const store = await storeOf(parseKeyUri(uri));
  await store.create(parseKeyUri(uri), { keyType: 'P-256', isolation: 'in-place' });
  const key = await openKey(uri, { isolation: 'in-place' });
  const { publicKey } = key;
  await key.close();
  return setUp('SoftHSM', uri, publicKey, { pkcs11: { module: MODULE, pin, label: 'bench', object: 'key' } });
}

async function timed(node, args) {
  const started = process.hrtime.bigint();
  const { stdout } = await execute(node, args, { env });
  return { milliseconds: Number(process.hrtime.bigint() - started) / 1e6, stdout };
}

/** bare.mjs as CommonJS, which Node starts sooner. */
function bareAsCommonJs() {
  const driver = JSON.stringify(fileURLToPath(import.meta.resolve('pkcs11js')));
  const text = readFileSync(join(import.meta.dirname, 'bare.mjs'), 'utf8')
    .replace(/^import (.+) from ('node:[a-z]+');$/gm, 'const $1 = require($2);')
    .replace("await import('pkcs11js')", () => `{ default: require(${driver}) }`);
  return write('bare.cjs', `(async () => {\n${text}\n})();\n`);
}

/** The least that a hit could do: read one file and print it. As an ES module and as CommonJS. */
function readers() {
  const path = JSON.stringify(
    write('credentials.json', JSON.stringify({ Version: 1, SessionToken: 'A'.repeat(1000) })),
  );
  const print = `process.stdout.write(readFileSync(${path}));`;
  return {
    reader: [write('read.mjs', `import { readFileSync } from 'node:fs';\n${print}\n`)],
    readerCommonJs: [write('read.cjs', `const { readFileSync } = require('node:fs');\n${print}\n`)],
  };
}

/** A hit beside the readers, interleaved: on a key in a token, if there is one, since no driver is loaded either. */
async function compareHits(node, store) {
  const kinds = { ...readers(), hit: store.args };
  const times = { reader: [], readerCommonJs: [], hit: [] };
  for (let run = -1; run < runs; run += 1) {
    for (const [kind, args] of Object.entries(kinds)) {
      const { milliseconds } = await timed(node, args);
      if (run >= 0) times[kind].push(milliseconds);
    }
  }
  const ratio = (kind) => median(times.hit.map((time, run) => time / times[kind][run])).toFixed(2);
  const of = (kind) => median(times[kind]).toFixed(0);
  return [...['reader', 'readerCommonJs', 'hit'].map(of), ratio('reader'), ratio('readerCommonJs')];
}

/** What one run loads. */
async function loadedBy(node, args) {
  const path = join(place, 'loaded.json');
  await execute(node, ['--require', './bench/loaded.cjs', ...args], { env: { ...env, BENCH_LOADED: path } });
  return JSON.parse(readFileSync(path, 'utf8'));
}

async function compareLoaded(node, store) {
  forget();
  const [bare, ours] = [await loadedBy(node, ['bench/bare.mjs', store.config]), await loadedBy(node, store.args)];
  const extra = ours.builtins.filter((name) => !bare.builtins.includes(name));
  const files = ours.files.map(({ path, kilobytes }) => `${basename(path)} ${kilobytes.toFixed(0)}`);
  const more = extra.map((name) => name.split(' ')[1]).join(', ') || 'none';
  return [bare.builtins.length, ours.builtins.length, more, files.join(', ')];
}

const stores = [await fileKey(), await tokenKey()];
const commonJs = bareAsCommonJs();
const whole = [];
const steps = [];
const loads = [];
const hits = [];
for (const major of values.nodes.split(',')) {
  const node = nodeBinary(major);
  for (const store of stores) {
    const kinds = {
      empty: ['-e', '0'],
      bare: ['bench/bare.mjs', store.config],
      commonJs: [commonJs, store.config],
      holdfast: store.args,
    };
    const times = { empty: [], bare: [], commonJs: [], holdfast: [] };
    const phases = [];
    for (let run = -1; run < runs; run += 1) {
      for (const [kind, args] of Object.entries(kinds)) {
        forget();
        const { milliseconds } = await timed(node, args);
        if (run >= 0) times[kind].push(milliseconds);
      }
      const { stdout } = await timed(node, ['bench/phases.mjs', store.config]);
      if (run >= 0) phases.push(JSON.parse(stdout));
    }
    if (runtime !== undefined) hits.push([major, store.name, ...(await compareHits(node, store))]);
    loads.push([major, store.name, ...(await compareLoaded(node, store))]);
    const of = (kind) => median(times[kind]).toFixed(0);
    const ratio = (kind) => median(times.holdfast.map((time, run) => time / times[kind][run])).toFixed(2);
    const columns = ['empty', 'bare', 'commonJs', 'holdfast'].map(of);
    whole.push([major, store.name, ...columns, ratio('bare'), ratio('commonJs')]);
    const step = (name) => median(phases.map((phase) => phase[name])).toFixed(1);
    steps.push([major, store.name, ...['start', 'load', 'open', 'sign', 'request'].map(step)]);
  }
}

console.log(`${machine()}; medians of ${runs} interleaved runs, milliseconds; a ratio is the median of the pairs\n`);
console.log(
  table(
    ['Node', 'key', 'node -e 0', 'bare script', 'as CommonJS', 'credential-process', 'ratio', 'to CommonJS'],
    whole,
  ),
);
console.log('\nOut of the shared cache, beside a script that reads one file and prints it:\n');
console.log(table(['Node', 'key', 'reader', 'as CommonJS', 'hit', 'ratio', 'to CommonJS'], hits));
console.log('\nThe same session through the library, by step:\n');
console.log(table(['Node', 'key', 'start', 'load', 'open', 'sign', 'request'], steps));
console.log(
  "\nWhat is loaded: Node's own modules, and files with their KiB (pkcs11.node is the driver's native part):\n",
);
console.log(table(['Node', 'key', 'bare script', 'credential-process', 'more than the bare script', 'files'], loads));
await local.close();
for (const one of [place, runtime]) if (one !== undefined) rmSync(one, { recursive: true, force: true });
