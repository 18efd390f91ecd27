import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import pkcs11js from 'pkcs11js';
import { fromPem } from './certificate-maker.ts';
import { start } from './cli.ts';
import { rawPkcs11 } from './raw-pkcs11.ts';
import { makeToken, setRealEnvironment, type TestToken } from './softhsm.ts';
import type { Stage } from './transcripts.ts';

/** It stands in argv, as people have it. */
const PIN = 'given-on-purpose';

/**
 * Three tokens: `prod` with an RSA and an EC key and their certificates, and an EC key without its public half, `hidden` with a certificate that only shows after
 * a login, and an empty one.
 */
export async function addTokens({ values, env }: Stage): Promise<{ stage: Stage; token: TestToken }> {
  const token = await makeToken({ tokenLabel: 'prod', pin: PIN });
  const hidden = await token.addToken({ tokenLabel: 'hidden', pin: PIN });
  setRealEnvironment(token.env);
  await token.addToken({ tokenLabel: 'empty', pin: PIN });
  const run = async (program: string, args: readonly string[]): Promise<void> => {
    const { status, stderr } = await start(args, { program, env: { ...token.env } }).finished;
    expect({ program, args, status, stderr: status === 0 ? '' : stderr }).toMatchObject({ status: 0 });
  };
  const addKey = (label: string, id: string, path: string | undefined): Promise<void> =>
    run('softhsm2-util', [
      ...['--module', token.modulePath, '--import', path ?? '', '--token', 'prod'],
      ...['--label', label, '--id', id, '--pin', PIN],
    ]);
  const addCertificate = async (on: string, label: string, id: string, pem: string): Promise<void> => {
    const der = join(token.dir, `${label}.der`);
    await run('openssl', ['x509', '-in', pem, '-outform', 'DER', '-out', der]);
    await run('pkcs11-tool', [
      ...['--module', token.modulePath, '--token-label', on, '--login', '--pin', PIN],
      ...['--write-object', der, '--type', 'cert', '--label', label, '--id', id],
    ]);
  };
  await addKey('rsa', '01', values['RSA-KEY']);
  await addKey('cli', '02', values.KEY);
  await addKey('alone', '05', values['EC-KEY']);
  await run('pkcs11-tool', [
    ...['--module', token.modulePath, '--token-label', 'prod', '--login', '--pin', PIN],
    ...['--delete-object', '--type', 'pubkey', '--id', '05'],
  ]);
  await addCertificate('prod', 'rsa', '01', values['RSA-CERTIFICATE'] ?? '');
  await addCertificate('prod', 'cli', '02', values.CERTIFICATE ?? '');
  await addCertificate('prod', 'chain', '03', values.CHAIN ?? '');
  hide(hidden, readFileSync(values['EC-CERTIFICATE'] ?? ''));
  const pinFile = join(token.dir, 'pin');
  writeFileSync(pinFile, `${PIN}\n`, { mode: 0o600 });
  const wrongPin = join(token.dir, 'wrong-pin');
  writeFileSync(wrongPin, 'not-this-one\n', { mode: 0o600 });
  return {
    stage: {
      values: { ...values, MODULE: token.modulePath, 'PIN-FILE': pinFile, 'WRONG-PIN-FILE': wrongPin },
      env: { ...env, ...token.env },
    },
    token,
  };
}

/** A private object, which pkcs11-tool does not make of a certificate. */
function hide(token: TestToken, pem: Buffer): void {
  const raw = rawPkcs11(token);
  raw.pkcs11.C_CreateObject(raw.session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE },
    { type: pkcs11js.CKA_CERTIFICATE_TYPE, value: pkcs11js.CKC_X_509 },
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_ID, value: Buffer.from([7]) },
    { type: pkcs11js.CKA_LABEL, value: 'secret' },
    { type: pkcs11js.CKA_SUBJECT, value: Buffer.alloc(0) },
    { type: pkcs11js.CKA_VALUE, value: fromPem(pem.toString())[0] as Buffer },
  ]);
  raw.close();
  raw.finalise();
}
