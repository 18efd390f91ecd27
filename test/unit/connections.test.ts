import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { readHouse } from '../helpers/architecture.ts';
import { nodesOf, rootName, type Source, sourcesOf } from '../helpers/source-tree.ts';

const sources = sourcesOf(readHouse(fileURLToPath(new URL('../..', import.meta.url))));

const GLOBALS = new Set(['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest']);

/** Files that use a module of Node's: by import, by `import()`, or by whatever else takes its name. */
const usersOf = (module: RegExp, isUser: (source: Source) => boolean = () => false): string[] =>
  sources
    .filter((source) => {
      const imported = source.imports.filter(({ how }) => how !== 'type').map(({ specifier }) => specifier);
      const named = nodesOf(source.body, 'CallExpression').flatMap(({ arguments: given }) =>
        nodesOf(given, 'StringLiteral').map(({ value }) => value as string),
      );
      return [...imported, ...named].some((name) => module.test(name ?? '')) || isUser(source);
    })
    .map(({ path }) => path)
    .sort();

// SECURITY.md says that there is no telemetry. Whatever can open a connection stands here, with what it is for.
test('nothing connects but the request to the endpoint, its proxy, a TPM that was named, and the service on this machine', () => {
  const callsGlobal = ({ body }: Source): boolean =>
    nodesOf(body, 'CallExpression', 'NewExpression').some(({ callee }) => GLOBALS.has(rootName(callee as never) ?? ''));
  expect(usersOf(/^node:(http2?|https|net|tls|dgram|dns)(\/|$)/, callsGlobal)).toEqual([
    'src/http.ts', // CreateSession
    'src/local/server.ts', // listens on 127.0.0.1
    'src/proxy-choice.ts', // which addresses NO_PROXY means
    'src/proxy.ts', // CONNECT
    'src/read-file.ts', // a pipe that is a descriptor
    'src/roots.ts', // the certificates that are trusted
    'src/stores/tpm/socket.ts', // the TPM that a URI or a variable names
  ]);
});

test('programs are started by the demo, for a PIN where somebody allowed it, and to have a PKCS#11 module', () => {
  expect(usersOf(/^node:child_process$/)).toEqual([
    'src/cli/demo.ts',
    'src/cli/soft-token.ts',
    'src/cli/soft-tpm.ts',
    'src/secret-command.ts', // pin-source=|command, with --allow-pin-command
    'src/stores/pkcs11/box.ts', // Node itself, with holdfast-child.js
  ]);
});
