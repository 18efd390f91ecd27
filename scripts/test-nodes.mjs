// The suites that another Node could break (key files, TPM keys, certificates, signatures, child processes, the
// local service, the CLI) under each version of scripts/nodes.mjs. What they start runs under that version, too. Wants a built dist/.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, dirname } from 'node:path';
import { nodeBinary, OTHER_NODES } from './nodes.mjs';
import { root } from './run-jest.mjs';

const SUITES =
  '^test/(unit/(file-|store-file|sigv4|certificate|local-|tpm-)|real/(cli|file-|local-|pkcs11-(child|bundled)|proxy|tls-roots|tpm-))';

const sum = { passed: 0, failed: 0, skipped: 0 };
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
for (const major of Object.keys(OTHER_NODES)) {
  const binary = nodeBinary(major);
  console.log(`\nNode ${OTHER_NODES[major]}`);
  const child = spawn(binary, ['scripts/test.mjs', '--only', SUITES], {
    cwd: root,
    env: { ...process.env, PATH: `${dirname(binary)}${delimiter}${process.env.PATH ?? ''}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // It ends what it has started; then this ends, too.
  const stop = () => child.kill('SIGTERM');
  for (const signal of signals) process.on(signal, stop);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text);
    output += text;
  });
  const [status] = await once(child, 'close');
  for (const signal of signals) process.off(signal, stop);
  const closing = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output);
  const failed = Number(closing?.[2] ?? 0);
  sum.passed += Number(closing?.[1] ?? 0);
  sum.failed += status === 0 ? failed : Math.max(failed, 1);
  sum.skipped += Number(closing?.[3] ?? 0);
  if (status !== 0 && !closing) break;
}

console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed === 0 ? 0 : 1;
