import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { parseKeyUri } from '../../src/uri.ts';
import { whenGone } from '../helpers/children.ts';
import { describeFaulty, type FaultModule, faultOn } from '../helpers/fault-module.ts';
import { CHILD, inChild } from '../helpers/in-child.ts';
import { makeToken, type TestToken } from '../helpers/softhsm.ts';

const run = promisify(execFile);
const LIBRARY = pathToFileURL(fileURLToPath(new URL('../../dist/index.js', import.meta.url))).href;

// Each in a program of its own: a test runner keeps the event loop alive, and catches what nobody caught.
describeFaulty('a program whose PKCS#11 process is in trouble, or in trouble itself', () => {
  let token: TestToken;
  let fault: FaultModule;
  let uri: string;

  beforeAll(async () => {
    token = await makeToken();
    writeFileSync(join(token.dir, 'pin'), token.pin, { mode: 0o600 });
    fault = faultOn(token);
    uri = token
      .uri({ object: 'key' }, { 'pin-source': `file:${join(token.dir, 'pin')}` })
      .replace(/module-path=[^&]+/, () => `module-path=${fault.modulePath}`);
    await inChild.create(parseKeyUri(uri), { keyType: 'P-256' });
  });
  afterAll(() => token.remove());
  beforeEach(() => fault.rules());

  /** What it prints: one line for each thing that `said` gets. Fails where the program does. */
  async function program(code: string, limits = ''): Promise<string[]> {
    const path = join(token.dir, 'program.mjs');
    writeFileSync(
      path,
      `import { execFileSync } from 'node:child_process';
      import { closeSync, openSync, writeFileSync } from 'node:fs';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { openKey } from ${JSON.stringify(LIBRARY)};
      const uri = process.env.TEST_URI, message = Buffer.from('message');
      const said = (...words) => console.log(...words);
      const codeOf = (promise) => promise.then(() => 'done', (error) => String(error.code));
      const child = () => Number(execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
        .split('\\n').find((line) => Number(line.trim().split(/\\s+/)[1]) === process.pid && line.includes('holdfast'))
        ?.trim().split(/\\s+/)[0]);
      ${code}`,
    );
    const env = { ...process.env, ...fault.env, TEST_URI: uri };
    const shell = ['-c', `${limits} exec "$0" --no-warnings "$1"`, process.execPath, path];
    const { stdout } = await run('/bin/sh', shell, { env, timeout: 20_000, killSignal: 'SIGKILL' });
    return stdout.trimEnd().split('\n');
  }

  /** The real program of the child, with something done to it. */
  function childThat(does: string): string {
    const path = join(token.dir, 'holdfast-odd.mjs');
    writeFileSync(
      path,
      `import fs from 'node:fs'; await import(${JSON.stringify(pathToFileURL(CHILD).href)}); ${does}`,
    );
    return JSON.stringify(path);
  }

  test('it waits for what it is for, however late that comes', async () => {
    const child = fork(CHILD, [], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc', 'ignore'],
    });
    const gone = once(child, 'exit');
    await once(child, 'message');
    await pause(300);
    expect(child.connected).toBe(true);
    child.disconnect();
    expect(await gone).toEqual([0, null]);
  });

  test('a hash that is none is the caller’s mistake, and costs nobody else a signature', async () => {
    const lines = await program(`const key = await openKey(uri);
      const odd = [() => {}, Symbol('x'), { f() {} }, 'MD5', 5].map((hash) => codeOf(key.sign(message, hash)));
      said(...await Promise.all([...odd, codeOf(key.sign(message, 'SHA-384'))]));
      await key.close();
      said('closed');`);
    expect(lines).toEqual([`${'ERR_OPTION_INVALID '.repeat(5)}done`, 'closed']);
  });

  test('an option that cannot cross to the child fails its own call', async () => {
    const lines = await program(`const secret = Object.assign(() => '1', { origin: { kind: 'file', name: () => {} } });
      said(await codeOf(openKey(uri, { secret })));
      said(await codeOf(openKey(uri).then((key) => key.close())));`);
    expect(lines).toEqual(['ERR_OPTION_INVALID', 'done']);
  });

  test('what comes after the close of a key whose process hangs is done', async () => {
    const lines = await program(`const key = await openKey(uri);
      const pid = child();
      process.kill(pid, 'SIGSTOP');
      await key.close();
      said('closed');`);
    expect(lines).toEqual(['closed']);
  });

  test('a close ends a signature that hangs, and its process', async () => {
    fault.rules('C_Sign delay=60000');
    const lines = await program(`const key = await openKey(uri);
      const signing = codeOf(key.sign(message));
      await sleep(200);
      await key.close();
      said(await signing, child());`);
    expect(lines).toEqual(['ERR_KEY_CLOSED NaN']);
  });

  test.each([0, 1, 2, 3, 6])('with %i descriptors left no process is started: said so', async (left) => {
    const lines = await program(
      `await (await openKey(uri)).close();
      const taken = [];
      try { for (;;) taken.push(openSync('/dev/null')); } catch {}
      for (let count = 0; count < ${left}; count += 1) closeSync(taken.pop());
      const error = await openKey(uri).then((key) => key.close(), (thrown) => thrown);
      for (const one of taken) closeSync(one);
      said(error?.code ?? 'done', error?.message);
      said(await codeOf(openKey(uri).then((key) => key.close())));`,
      'ulimit -n 60;',
    );
    if (left < 4) expect(lines[0]).toMatch(/^ERR_STORE_CRASHED no process was started .*EMFILE/);
    else expect(lines[0]).toMatch(/^(done|ERR_\w+)/);
    expect(lines[1]).toBe('done');
  });

  test.each([
    ['a number', 'process.send(5)'],
    ['nothing', 'process.send([null])'],
    ['an answer to nobody', `process.send([{ is: 'what' }])`],
    ['an error that is none', `process.send([{ is: 'failed', id: 2 }])`],
  ])('%s from the child: it is ended, and a new process signs', async (_what, does) => {
    const childPath = childThat(`setTimeout(() => { ${does}; }, 1000);`);
    const lines = await program(`const key = await openKey(uri, { childPath: ${childPath} });
      writeFileSync(${childPath}, 'import(${JSON.stringify(pathToFileURL(CHILD).href)});');
      await sleep(1200);
      said(await codeOf(key.sign(message)));
      await key.close();
      said('closed', child());`);
    expect(lines).toEqual(['done', 'closed NaN']);
  });

  test('stray text, which looks like the beginning of a message without an end: deadline and close hold', async () => {
    const childPath = childThat(`setTimeout(() => fs.writeSync(3, 'a line of a log that went astray\\n'), 1000);`);
    const lines = await program(`const key = await openKey(uri, { childPath: ${childPath}, deadline: 3000 });
      await sleep(1200);
      said(await codeOf(key.sign(message)));
      await key.close();
      const other = await openKey(uri, { childPath: ${childPath} });
      await sleep(1200);
      const signing = codeOf(other.sign(message));
      await other.close();
      said(await signing, child());`);
    expect(lines).toEqual(['ERR_SIGNING_TIMEOUT', 'ERR_KEY_CLOSED NaN']);
  });

  test('a child without its channel ends, whether or not the parent is there', async () => {
    const childPath = childThat('setTimeout(() => fs.closeSync(3), 500);');
    const [there, gone] = await program(`const open = () => openKey(uri, { childPath: ${childPath} });
      await open();
      said(child());
      await sleep(3500);
      said(child());`);
    expect([Number(there), gone]).toEqual([expect.any(Number), 'NaN']);
    const [orphan] = await program(`await openKey(uri, { childPath: ${childPath} });
      said(child());
      await sleep(1000);
      process.kill(process.pid, 'SIGKILL');`).catch((error: { stdout: string }) => [error.stdout.trim()]);
    await whenGone(Number(orphan));
  });

  test('the program of another version is told from one that crashed', async () => {
    const path = JSON.stringify(join(token.dir, 'holdfast-old.mjs'));
    const lines = await program(`const childPath = ${path};
      for (const first of [[{ is: 'ready', version: 0 }], [{ is: 'login', underWay: false }], 5]) {
        writeFileSync(childPath, 'process.send(' + JSON.stringify(first) + '); setInterval(() => {}, 1000);');
        said(await codeOf(openKey(uri, { childPath })), child());
      }`);
    expect(lines).toEqual(Array(3).fill('ERR_CHILD_MISSING NaN'));
  });

  test('a program that Node cannot run is told from a module that crashed', async () => {
    const lines = await program(`const tell = (options) => openKey(uri, options).catch(({ code, message, hint }) =>
        said(code, message.includes('did not start') && message.includes('exit status'), /childPath.*NODE_OPTIONS/.test(hint)));
      await tell({ childPath: ${JSON.stringify(token.dir)} });
      await tell({ childPath: '/etc/passwd' });
      process.env.NODE_OPTIONS = '--require /nonexistent';
      await tell({});`);
    expect(lines).toEqual(Array(3).fill('ERR_STORE_CRASHED true true'));
  });

  test('a child does not wait for its parent’s debugger', async () => {
    const lines = await program(`process.env.NODE_OPTIONS = '--inspect-brk=0 --no-deprecation --inspect';
      said(await codeOf(openKey(uri, { deadline: 20000 }).then((key) => key.close())));`);
    expect(lines).toEqual(['done']);
  });
});
