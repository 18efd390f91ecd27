// One small certificate hierarchy, a local service that trusts it, and requests signed under it.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { LocalOptions } from '../../src/local/index.ts';
import { DIGITAL_SIGNATURE, KEY_CERT_SIGN, makeCertificate, type Recipe, toPem } from './certificate-maker.ts';
import type { Plan, TestIdentity } from './x509-request.ts';

export const NOW = new Date('2026-06-15T12:00:00Z');
export const HOST = '127.0.0.1:4711';
export const ACCOUNT = '111122223333';
export const ROLES_ANYWHERE = `arn:aws:rolesanywhere:us-east-1:${ACCOUNT}`;
export const ANCHOR_ARN = `${ROLES_ANYWHERE}:trust-anchor/a1`;
export const PROFILE_ARN = `${ROLES_ANYWHERE}:profile/p1`;
export const ROLE_ARN = `arn:aws:iam::${ACCOUNT}:role/path/web`;
export const OTHER_ROLE_ARN = `arn:aws:iam::${ACCOUNT}:role/other`;
export const ARNS = { trustAnchorArn: ANCHOR_ARN, profileArn: PROFILE_ARN, roleArn: ROLE_ARN };

const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const root = ec();
export const middle = ec();
export const other = ec();
export const leaf = ec();
export const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const ROOT: Recipe = {
  subject: 'root',
  issuer: 'root',
  publicKey: root.publicKey,
  issuerKey: root.privateKey,
  ca: true,
  keyUsage: KEY_CERT_SIGN,
};
export const MIDDLE: Recipe = { ...ROOT, subject: 'middle', publicKey: middle.publicKey };
export const LEAF: Recipe = {
  subject: 'web-01',
  issuer: 'middle',
  publicKey: leaf.publicKey,
  issuerKey: middle.privateKey,
  serial: '0a1b2c',
  ca: false,
  keyUsage: DIGITAL_SIGNATURE,
};

export const rootCertificate = makeCertificate(ROOT);
export const middleCertificate = makeCertificate(MIDDLE);

/** An identity whose certificates differ from the sound ones in what is given. */
export function identity(
  change: { leaf?: Partial<Recipe>; middle?: Partial<Recipe>; key?: KeyObject } = {},
): TestIdentity {
  return {
    key: change.key ?? leaf.privateKey,
    certificate: makeCertificate({ ...LEAF, ...change.leaf }),
    chain: [change.middle ? makeCertificate({ ...MIDDLE, ...change.middle }) : middleCertificate],
  };
}

export const SOUND = identity();
export const RSA = identity({ leaf: { publicKey: rsa.publicKey }, key: rsa.privateKey });
/** Straight under the root. */
export const DIRECT = { ...identity({ leaf: { issuer: 'root', issuerKey: root.privateKey } }), chain: [] };

export const options = (more: LocalOptions = {}): LocalOptions => ({
  profileArn: PROFILE_ARN,
  roleArn: ROLE_ARN,
  anchors: [{ arn: ANCHOR_ARN, pem: toPem(rootCertificate) }],
  now: () => NOW,
  ...more,
});

export const plan = (more: Partial<Plan> = {}): Plan => ({
  identity: SOUND,
  host: HOST,
  date: NOW,
  body: { ...ARNS, durationSeconds: 900 },
  ...more,
});

export interface Case {
  readonly name: string;
  /** The check that refuses it, and nothing else does. */
  readonly check: string;
  readonly options?: LocalOptions;
  readonly plan?: Partial<Plan>;
  readonly status?: number;
  readonly text: string;
}

export const body = (more: object): Partial<Plan> => ({ body: { ...ARNS, ...more } });
export const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000);
/** Options with another trust anchor. */
export const anchored = (recipe: Partial<Recipe>): LocalOptions => ({
  anchors: [{ arn: ANCHOR_ARN, pem: toPem(makeCertificate({ ...ROOT, ...recipe })) }],
});
/** A second root of the same name, with another key. */
export const impostor = makeCertificate({ ...MIDDLE, publicKey: other.publicKey });

/** A recipe with a line left out. */
export function without<K extends keyof Recipe>(recipe: Recipe, key: K): Recipe {
  const { [key]: _, ...rest } = recipe;
  return rest as Recipe;
}

/** More certificates for the tests of what cannot be read. */
export const repeatedExtension: TestIdentity = identity({ leaf: { twice: true } });
export const ed25519 = (): TestIdentity => {
  const pair = generateKeyPairSync('ed25519');
  return identity({ leaf: { publicKey: pair.publicKey }, key: pair.privateKey });
};
