import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseKeyUri } from '../../src/uri.ts';
import { childrenOf } from '../helpers/children.ts';
import { inChild } from '../helpers/in-child.ts';
import { timesInMemory } from '../helpers/memory-of.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const LIBRARY = pathToFileURL(resolve(root, process.env.HOLDFAST_TEST_DIST ?? 'dist', 'index.js')).href;

const describeOnLinux = process.platform === 'linux' ? describeSoftHsm : describe.skip;

const why = process.platform === 'linux' ? '' : ' (skipped: only Linux shows the memory of a process as a file)';

describeOnLinux(`the memory of a program whose PKCS#11 module is in a child process${why}`, () => {
  let token: TestToken;
  let pinFile: string;
  let program: ChildProcess | undefined;

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
    pinFile = join(token.dir, 'pin');
    writeFileSync(pinFile, token.pin, { mode: 0o600 });
    await inChild.create(parseKeyUri(token.uri({ object: 'key' }, { 'pin-source': `file:${pinFile}` })), {
      keyType: 'P-256',
    });
  });
  afterAll(async () => {
    program?.kill('SIGKILL');
    await token.remove();
  });

  /** Opens and signs, and keeps the key open until its input ends. */
  async function start(options: string, uri: string): Promise<ChildProcess> {
    const code = `
      import { readFileSync } from 'node:fs';
      import { openKey, Secret } from '${LIBRARY}';
      const [pinFile, uri] = ${JSON.stringify([pinFile, uri])};
      const key = await openKey(uri, ${options});
      await key.sign(Buffer.from('message'));
      console.log('signed');
      process.stdin.resume().on('end', () => key.close());`;
    program = spawn(process.execPath, ['--no-warnings', '--input-type=module', '--eval', code], {
      env: { ...process.env, ...token.env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const said = program.stdout as NonNullable<ChildProcess['stdout']>;
    expect(String((await once(said, 'data'))[0])).toBe('signed\n');
    return program;
  }

  async function end(): Promise<unknown> {
    const ended = once(program as ChildProcess, 'exit');
    program?.stdin?.end();
    return (await ended)[0];
  }

  const wiped = `{ secret() {
    const bytes = readFileSync(pinFile);
    const secret = new Secret(bytes);
    bytes.fill(0);
    return secret;
  } }`;

  test.each([
    ['that the key URI names is never there', '{}', true, false],
    ['that a function of the program gives is not there once it was sent', wiped, false, false],
    ['that the program itself keeps is found', `{ secret: readFileSync(pinFile, 'utf8') }`, false, true],
  ])('a PIN %s', async (_what, options, isNamed, isThere) => {
    const uri = token.uri({ object: 'key' }, isNamed ? { 'pin-source': `file:${pinFile}` } : {});
    const { pid } = await start(options, uri);
    const [child] = childrenOf(pid as number);
    expect(timesInMemory(pid as number, token.pin) > 0).toBe(isThere);
    // The driver takes it as a string, and keeps that: the search finds it where it is.
    expect(timesInMemory(child as number, token.pin)).toBeGreaterThan(0);
    expect(await end()).toBe(0);
  });
});
