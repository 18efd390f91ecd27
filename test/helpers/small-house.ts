import type { Tree } from './source-tree.ts';

/** A house in which every law holds, with one file of each kind: the ground on which faults are planted. */
export const SMALL_HOUSE: Tree = new Map([
  ['package.json', '{ "exports": { ".": {}, "./local": {}, "./stores/file": {}, "./stores/pkcs11": {} } }'],
  ['docs/errors.md', '# Errors\n\n## ERR_A\n\nText.\n\n## ERR_B\n\nText.\n'],
  ['native-notes/README.md', 'file: needs nothing.\n'],
  ['native-notes/pkcs11.md', 'Text.\n'],
  ['test/stores/file.test.ts', `import { conforms } from './conformance.ts';\n`],
  ['test/real/pkcs11.test.ts', `import { conforms } from '../stores/conformance.ts';\n`],
  ['src/index.ts', `export { getCredentials } from './provider.ts';\nexport type { Signer } from './signer.ts';\n`],
  [
    'src/errors.ts',
    `export const ERROR_CODES = { ERR_A: { exit: 1 }, ERR_B: { exit: 2 } } as const;
     export class HoldfastError extends Error {}\n`,
  ],
  ['src/signer.ts', `export interface Signer { sign(message: Uint8Array): Promise<Uint8Array> }\n`],
  ['src/sigv4.ts', `export const signRequest = (): void => {};\n`],
  [
    'src/provider.ts',
    `import { HoldfastError } from './errors.ts';
     import type { Signer } from './signer.ts';
     import { storeOf } from './stores/index.ts';
     import type { OpenKey } from './stores/store.ts';
     export async function getCredentials(signer: Signer | OpenKey): Promise<void> {
       if (!signer) throw new HoldfastError('ERR_A', \`no signer for \${signer}\`);
       const { certify } = await import('./pki.ts');
       certify(await storeOf());
     }\n`,
  ],
  [
    'src/pki.ts',
    `import 'reflect-metadata';\nimport * as x509 from '@peculiar/x509';\nexport const certify = x509.x;\n`,
  ],
  [
    'src/stores/index.ts',
    `const STORES = new Map([['file', () => import('./file/index.ts')], ['pkcs11', () => import('./pkcs11/index.ts')]]);
     export const storeOf = (): unknown => STORES.get('file');\n`,
  ],
  ['src/stores/store.ts', `import type { Signer } from '../signer.ts';\nexport interface OpenKey extends Signer {}\n`],
  [
    'src/stores/file/index.ts',
    `import { readFile } from 'node:fs/promises';
     import type { OpenKey } from '../store.ts';
     export const open = (path: string): Promise<unknown> => readFile(path);
     export class Held { constructor(readonly path: string) {} }
     export type Any = OpenKey;\n`,
  ],
  [
    'src/stores/pkcs11/index.ts',
    `import { HoldfastError } from '../../errors.ts';
     export async function open(): Promise<void> {
       const { sign } = await import('./driver.ts');
       try { sign(); } catch (cause) { throw new HoldfastError('ERR_B', 'the token failed', { cause }); }
     }\n`,
  ],
  [
    'src/stores/pkcs11/driver.ts',
    `import pkcs11js from 'pkcs11js';\nimport { modules } from './registry.ts';
     export const sign = (): void => modules().push(new pkcs11js.PKCS11());\n`,
  ],
  [
    'src/stores/pkcs11/registry.ts',
    `const KEY: unique symbol = Symbol.for('modules');
     type Registry = { [KEY]?: unknown[] };
     export const modules = (): unknown[] => ((globalThis as Registry)[KEY] ??= []);\n`,
  ],
  [
    'src/local/index.ts',
    `import { createServer } from 'node:http';\nimport { certify } from '../pki.ts';\nimport { answer } from './answer.ts';
     export const startLocalRolesAnywhere = (): unknown => createServer(() => answer(certify));\n`,
  ],
  ['src/local/answer.ts', `export const answer = (value: unknown): unknown => value;\n`],
  [
    'src/cli/main.ts',
    `import { getCredentials } from '../index.ts';
     const { demo } = await import('./demo.ts');
     process.stdout.write(String(await demo(getCredentials)));
     process.exitCode = 0;\n`,
  ],
  [
    'src/cli/demo.ts',
    `export async function demo(value: unknown): Promise<unknown> {
       const { startLocalRolesAnywhere } = await import('../local/index.ts');
       const { STSClient } = await import('@aws-sdk/client-sts');
       return [value, startLocalRolesAnywhere, STSClient];
     }\n`,
  ],
]);
