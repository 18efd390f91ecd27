import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../../src/local/index.ts';
import { canaries, vend } from '../helpers/canaries.ts';
import { type CliIdentity, MAIN, makeCliIdentity, start } from '../helpers/cli.ts';
import { testUnless } from '../helpers/exercised.ts';

const terminalTest = await testUnless('terminal');

let service: LocalRolesAnywhere;
let me: CliIdentity;

beforeAll(async () => {
  service = await startLocalRolesAnywhere({ vend, lifeSeconds: 3 });
  me = await makeCliIdentity(service);
});

afterAll(async () => {
  await service.close();
  await me.remove();
});

terminalTest('what is typed at the start of update serves its refreshes', async () => {
  const passphrase = canaries.passphrase;
  const key = createPrivateKey(await readFile(me.keyPath));
  const locked = join(me.dir, 'locked.pem');
  await writeFile(locked, key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }), {
    mode: 0o600,
  });
  const flags = Object.entries({ ...me.flags, 'private-key': locked }).flatMap(([name, value]) => [`--${name}`, value]);
  const command = `echo $$ > ${me.dir}/pid; exec ${[process.execPath, MAIN, 'update', ...flags].map((word) => `'${word}'`).join(' ')}`;
  const running = start(['-qec', command, '/dev/null'], { program: 'script', keepInput: true, env: { HOME: me.dir } });
  await running.saw('passphrase of key file');
  running.child.stdin?.write(`${passphrase}\r`);
  const notes = (): number => running.seen.stdout.split('will be refreshed at').length - 1;
  while (notes() < 3 && running.child.exitCode === null) await new Promise((done) => setTimeout(done, 50));
  process.kill(Number(await readFile(join(me.dir, 'pid'), 'utf8')), 'SIGTERM');
  const { stdout: screen } = await running.finished;
  expect(notes()).toBeGreaterThanOrEqual(3);
  expect(screen.split('passphrase of key file')).toHaveLength(2);
  expect(screen).not.toContain(passphrase);
});
