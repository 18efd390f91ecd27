import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { readHouse } from '../helpers/architecture.ts';
import { nodesOf, rootName, sourcesOf } from '../helpers/source-tree.ts';

const sources = sourcesOf(readHouse(fileURLToPath(new URL('../..', import.meta.url))));

const NETWORK = /^node:(http2?|https|net|tls|dgram|dns)(\/|$)/;
const GLOBALS = new Set(['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest']);

const firstText = (call: { arguments?: readonly { expression: { value?: unknown } }[] }): string =>
  String(call.arguments?.[0]?.expression.value);

// SECURITY.md says that there is no telemetry. Whatever can open a connection stands here, with what it is for.
test('nothing connects but the request to the endpoint, its proxy, and the service on this machine', () => {
  const users = sources.filter(
    ({ imports, body }) =>
      imports.some(({ specifier, how }) => how !== 'type' && NETWORK.test(specifier ?? '')) ||
      nodesOf(body, 'CallExpression', 'NewExpression').some(({ callee }) =>
        GLOBALS.has(rootName(callee as never) ?? ''),
      ) ||
      // process.getBuiltinModule('node:net')
      nodesOf(body, 'CallExpression').some((call) => NETWORK.test(firstText(call as never))),
  );
  expect(users.map(({ path }) => path).sort()).toEqual([
    'src/http.ts', // CreateSession
    'src/local/server.ts', // listens on 127.0.0.1
    'src/proxy-choice.ts', // which addresses NO_PROXY means
    'src/proxy.ts', // CONNECT
    'src/read-file.ts', // a pipe that is a descriptor
    'src/roots.ts', // the certificates that are trusted
  ]);
});

test('programs are started by the demo alone', () => {
  const users = sources.filter(({ imports }) => imports.some(({ specifier }) => specifier === 'node:child_process'));
  expect(users.map(({ path }) => path).sort()).toEqual(['src/cli/demo.ts', 'src/cli/soft-token.ts']);
});
