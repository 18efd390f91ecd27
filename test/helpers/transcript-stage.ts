import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalRolesAnywhere } from '../../src/local/index.ts';
import { vend } from './canaries.ts';
import { makeCertificate, toPem } from './certificate-maker.ts';
import { type CliIdentity, MAIN } from './cli.ts';
import { CAN_ML_DSA, ML_DSA_VECTORS, privateKeyOf } from './ml-dsa.ts';
import type { Stage } from './transcripts.ts';
import { fromBase64, VECTORS } from './vectors.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** `holdfast` as a command, and the identities that never change. */
export function makeStage(dir: string, more: Readonly<Record<string, string>> = {}): Stage {
  const write = (name: string, text: string | Uint8Array, mode = 0o600): string => {
    writeFileSync(join(dir, name), text);
    chmodSync(join(dir, name), mode);
    return join(dir, name);
  };
  mkdirSync(join(dir, 'bin'));
  write('bin/holdfast', `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, 0o755);
  const values: Record<string, string> = { BIN: join(dir, 'bin'), VERSION: version, ...more };
  const leaves: Buffer[] = [];
  for (const [name, identity] of [['RSA', 'RSA-2048'] as const, ['EC', 'P-256'] as const]) {
    const { privateKey, certificate } = VECTORS.identities[identity] as (typeof VECTORS.identities)[string];
    leaves.push(fromBase64(certificate));
    values[`${name}-KEY`] = write(`${name}.key`, privateKey);
    values[`${name}-CERTIFICATE`] = write(`${name}.pem`, toPem(fromBase64(certificate)));
  }
  const [mlDsa] = ML_DSA_VECTORS;
  if (CAN_ML_DSA && mlDsa) {
    values['ML-DSA-KEY'] = write('ml-dsa.key', privateKeyOf(mlDsa).export({ type: 'pkcs8', format: 'pem' }));
  }
  return {
    values: {
      ...values,
      BUNDLE: write('bundle.pem', toPem(...leaves)),
      EXPIRED: write('expired.pem', toPem(expired(readFileSync(values['RSA-KEY'] ?? '', 'utf8')))),
      'ML-DSA-CERTIFICATE': write('ml-dsa.pem', toPem(mlDsa?.certificate ?? Buffer.alloc(0))),
    },
    env: {},
  };
}

function expired(key: string): Buffer {
  return makeCertificate({
    subject: 'expired',
    issuer: 'nobody',
    publicKey: createPublicKey(createPrivateKey(key)),
    issuerKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2021-01-01T00:00:00Z'),
  });
}

/** What names a local service, and an identity that it knows. */
export function valuesOf(service: LocalRolesAnywhere, me: CliIdentity): Readonly<Record<string, string>> {
  const arns = [
    ['trust-anchor-arn', service.trustAnchorArn],
    ['profile-arn', service.profileArn],
    ['role-arn', service.roleArn],
    ['endpoint', service.endpoint],
  ];
  return {
    KEY: me.keyPath,
    CERTIFICATE: me.certificatePath,
    CHAIN: me.flags.intermediates as string,
    SESSION: arns.map(([name, value]) => `--${name} ${value}`).join(' '),
    'ANCHOR-ARN': service.trustAnchorArn,
    'PROFILE-ARN': service.profileArn,
    'ROLE-ARN': service.roleArn,
    ENDPOINT: service.endpoint,
    HOST: new URL(service.endpoint).host,
    'SECRET-KEY': vend.secretAccessKey,
    'SESSION-TOKEN': vend.sessionToken,
  };
}
