import type { Tree } from './source-tree.ts';

/** A broken law: files added or changed, and the file that must be blamed. */
export interface Fault {
  readonly law: string;
  readonly what: string;
  readonly files: Readonly<Record<string, (text: string) => string>>;
  readonly blamed: string;
}

/** A house with the fault in it. */
export const plant = (house: Tree, { files }: Fault): Tree =>
  new Map([...house, ...Object.entries(files).map(([path, edit]) => [path, edit(house.get(path) ?? '')] as const)]);

/** `line` is added to a file of the house, or makes a new one. */
const add = (law: string, file: string, what: string, line: string, blamed = file): Fault => ({
  law,
  what,
  files: { [file]: (text) => `${text}${line}\n` },
  blamed,
});

const code = (blamed: string, what: string): Fault => ({
  law: '5',
  what,
  files: { 'src/errors.ts': (text) => text.replace('ERROR_CODES = {', 'ERROR_CODES = { ERR_PLANTED: { exit: 1 },') },
  blamed,
});

const late = (line: string): string => `export const planted = () => ${line};`;

const provider = 'src/provider.ts';
const signer = 'src/signer.ts';
const local = 'src/local/index.ts';
const file = 'src/stores/file/index.ts';
const pkcs11 = 'src/stores/pkcs11/index.ts';
const stores = 'src/stores/index.ts';
const demo = 'src/cli/demo.ts';
const fresh = 'src/planted.ts';
const inRoom = 'src/stores/pkcs11/planted.ts';
const store = 'src/stores/planted/index.ts';

/** At least one for each law; each can be planted in the small house and in the real one. */
export const FAULTS: readonly Fault[] = [
  add('1', provider, 'the corridor loads a driver', `import 'pkcs11js';`),
  add('1', pkcs11, 'a front door loads a driver', `import pkcs11js from 'pkcs11js';`),
  {
    law: '1',
    what: 'a front door loads a driver two files away',
    files: { [inRoom]: () => `import 'pkcs11js';`, [pkcs11]: (text) => `import './planted.ts';${text}` },
    blamed: pkcs11,
  },

  add('2', provider, 'a walk through a wall', `import './stores/pkcs11/registry.ts';`),
  add('2', provider, 'types through a wall', `import type { A } from './stores/pkcs11/registry.ts';`),
  add('2', provider, 'import() of a store elsewhere', late(`import('./stores/file/index.ts')`)),
  add('2', stores, 'a store loaded unasked', `import './file/index.ts';`),
  add('2', demo, 'a store used past the registration', `import '../stores/file/index.ts';`),
  add('2', file, 'a store that uses another', `import '../pkcs11/index.ts';`),
  add('2', file, 'a store that asks the registration', `import { storeOf } from '../index.ts';`),
  add('2', signer, 'the corridor uses a wing', `import './local/index.ts';`),
  add('2', signer, 'the corridor knows types of a wing', `import type { A } from './local/index.ts';`),
  add('2', signer, 'the corridor uses a wing late', late(`import('./local/index.ts')`)),
  add('2', file, 'a store uses a wing', `import '../../local/index.ts';`),
  add('2', 'src/serve/index.ts', 'a wing uses another', `import '../local/index.ts';`),
  add('2', 'src/serve/index.ts', 'a wing uses the CLI', `import '../cli/demo.ts';`),
  add('2', 'src/enroll/index.ts', 'import() of a wing outside cli/', late(`import('../local/index.ts')`)),
  add('2', demo, 'the CLI walks through a wall', late(`import('../local/answer.ts')`)),
  add('2', provider, 'the front door used from inside', `import './index.ts';`),
  add('2', provider, 'an import() that nobody can check', 'export const planted = (name: string) => import(name);'),

  add('3', provider, 'a package without a home', `import 'left-pad';`),
  add('3', signer, 'a package outside its home', late(`import('@peculiar/x509')`)),
  add('3', signer, 'a package required outside its home', late(`require('asn1js/build')`)),
  add('3', signer, 'types of a package outside its home', `import type { A } from 'asn1js';`),
  add('3', inRoom, 'graphene outside administer.ts', `import 'graphene-pk11';`),
  add('3', provider, 'the SDK outside the demo', late(`import('@aws-sdk/client-sts')`)),
  add('3', demo, 'the SDK loaded unasked', `import '@aws-sdk/client-sts';`),
  add('3', provider, 'the hot path loads pki', `import './pki.ts';`, 'src/index.ts'),
  {
    law: '3',
    what: 'a store loads webcrypto',
    files: { 'src/webcrypto.ts': () => 'export {};', [file]: (text) => `import '../../webcrypto.ts';${text}` },
    blamed: file,
  },

  {
    law: '4',
    what: 'an import cycle',
    files: { [fresh]: () => `import './planted-too.ts';`, 'src/planted-too.ts': () => `import './planted.ts';` },
    blamed: fresh,
  },
  {
    law: '4',
    what: 'an import cycle of types',
    files: {
      [fresh]: () => `import './signer.ts';`,
      [signer]: (text) => `import type { A } from './planted.ts';${text}`,
    },
    blamed: signer,
  },
  add('4', fresh, 'a long file', '\n'.repeat(300)),
  add('4', fresh, 'a barrel', `export { HoldfastError } from './errors.ts';`),
  add('4', fresh, 'a barrel in two steps', `import { HoldfastError } from './errors.ts';export { HoldfastError };`),
  add('4', 'src/index.ts', 'export *', `export * from './signer.ts';`),
  add('4', 'src/index.ts', 'export * as', `export * as signer from './signer.ts';`),
  add('4', 'src/index.ts', 'a front door with something of its own', `export const version = '1';`),

  code('docs/errors.md', 'a code without a section'),
  code('src/errors.ts', 'a code that nothing uses'),
  add('5', 'docs/errors.md', 'a section without a code', '## ERR_PLANTED'),
  add('5', provider, 'a code that does not exist', late(`{ throw new HoldfastError('ERR_PLANTED', ''); }`)),

  add('6', store, 'a store that proves nothing', 'export {};'),

  add('7', provider, 'a log', late(`console.warn('x')`)),
  add('7', provider, 'a log by import', `import { log } from 'node:console';`),
  add('7', provider, 'process.exit', late('process.exit(1)')),
  add('7', provider, 'process.exit by import', `import { exit } from 'node:process';`),
  add('7', local, 'process.exitCode', late('{ process.exitCode = 1; }')),
  add('7', provider, 'process.stdout', late(`process.stdout.write('x')`)),
  add('7', provider, 'I/O when loaded', `import { readFileSync as r } from 'node:fs';export const planted = r('x');`),
  add(
    '7',
    provider,
    'I/O in a constructor',
    `import * as net from 'node:net';class A { constructor() { net.connect(1); } }`,
  ),
  add('7', provider, 'a call when loaded', 'storeOf();'),
  add('7', demo, 'a call when a command is loaded', 'demo();'),
  add('7', provider, 'await when loaded', 'export const planted = await storeOf();'),
  add('7', provider, 'state in a let', 'let planted = 0;'),
  add('7', provider, 'state in a Map', 'const planted = new Map<string, string>();'),
  add('7', 'src/secret-places.ts', 'state beside the one that is kept', 'const planted = new Map<string, string>();'),
  add('7', provider, 'globalThis elsewhere', late(`{ globalThis['x'] = 1; }`)),
  add('7', 'src/stores/pkcs11/zzz.ts', 'globalThis in a second file', late(`{ globalThis['x'] = 1; }`)),
  add('7', stores, 'a function register', 'export function register() {}'),
  add('7', provider, 'a call of register', `import m from 'node:module';${late(`m.register('x')`)}`),

  add('8', provider, 'the environment printed', late('JSON.stringify(process.env)')),
  add('8', provider, 'a PIN in an error', late(`{ throw new HoldfastError('ERR_A', \`no: \${secret.pin}\`); }`)),
  add('8', provider, 'a revealed secret in a hint', late(`new SecretError('ERR_A', '', { hint: secret.reveal() })`)),
  add('8', provider, 'a key URI unredacted in an error', late(`new SecretError('ERR_A', formatKeyUri(uri))`)),

  add('9', 'src/stores/planted/open.ts', 'a store without a door', 'export {};', store),
  add('9', store, 'a store without a line', 'export {};', stores),
  add('9', store, 'a store without a page', 'export {};', 'native-notes/README.md'),
  add('9', store, 'a store without a subpath', 'export {};', 'package.json'),
  add('9', 'src/planted/index.ts', 'a wing without a subpath', 'export {};', 'package.json'),

  add('local', local, 'the service uses the signing side', `import '../sigv4.ts';`),
  add('local', local, 'the service uses its types', `import type { A } from '../sigv4.ts';`),
  add('local', local, 'the service uses a package', `import '@smithy/signature-v4';`),
  {
    law: 'local',
    what: 'the service sees the signing side through pki',
    files: { 'src/sigv4.ts': (text) => `${text}\n`, 'src/pki.ts': (text) => `import './sigv4.ts';${text}` },
    blamed: local,
  },

  add('style', provider, 'an import without .ts', `import './signer';`),
  add('style', provider, 'any', 'export const planted = (x: any) => x;'),
  add('style', provider, 'a silenced compiler', '// @ts-expect-error'),
  add('style', provider, 'a silenced linter', '// biome-ignore lint: because'),
  add('style', provider, 'something undone', '// TODO later'),
];
