import { readFileSync } from 'node:fs';
import { load, properties, readPublic, sign } from '../../src/stores/tpm/commands.ts';
import { ALG, CURVES, type Curve, OBJECT } from '../../src/stores/tpm/constants.ts';
import { type Session, type Tpm, tpmOver } from '../../src/stores/tpm/execute.ts';
import { type Hash, hashOf } from '../../src/stores/tpm/hashes.ts';
import { create } from '../../src/stores/tpm/make-commands.ts';
import { readPublicArea } from '../../src/stores/tpm/public-area.ts';
import { schemeFor, signatureOf } from '../../src/stores/tpm/signature.ts';
import { signingTemplate } from '../../src/stores/tpm/templates.ts';
import type { Transport } from '../../src/stores/tpm/transport.ts';

/** What a TPM answered, byte by byte, and all that our side depends on: hex. */
export interface Exchange {
  readonly name: string;
  readonly session: { readonly handle: number; readonly key: string; readonly nonceTpm: string };
  readonly nonceCaller?: string;
  readonly parent?: { readonly handle: number; readonly name: string };
  readonly key?: { readonly handle: number; readonly name: string };
  readonly handle?: number;
  readonly area?: string;
  readonly privateBytes?: string;
  readonly authValue?: string;
  readonly digest?: string;
  readonly command: string;
  readonly response: string;
}

export const EXCHANGES: readonly Exchange[] = JSON.parse(
  readFileSync(new URL('../vectors/tpm-exchange.json', import.meta.url), 'utf8'),
).exchanges;

const bytes = (hex = ''): Buffer => Buffer.from(hex, 'hex');
const NOBODY: AbortSignal = new AbortController().signal;

/** The TPM of an exchange, over a transport of the test's. */
export const tpmOf = ({ nonceCaller }: Exchange, transport: Transport): Tpm =>
  tpmOver(
    transport,
    () => NOBODY,
    () => bytes(nonceCaller),
  );

export const sessionOf = ({ session }: Exchange): Session => ({
  handle: session.handle,
  key: bytes(session.key),
  nonceTpm: bytes(session.nonceTpm),
  hash: hashOf(ALG.SHA256) as Hash,
});

const entity = (of: Exchange['key']) => ({ handle: of?.handle ?? 0, name: bytes(of?.name) });

const TEMPLATE = signingTemplate(
  { curve: CURVES[0] as Curve },
  OBJECT.fixedTPM | OBJECT.fixedParent | OBJECT.sensitiveDataOrigin | OBJECT.sign | OBJECT.userWithAuth | OBJECT.noDA,
  Buffer.alloc(0),
);

/** Our side of an exchange. */
export async function replay(exchange: Exchange, tpm: Tpm, session: Session = sessionOf(exchange)): Promise<unknown> {
  const { name, area, authValue, digest, handle, key, parent, privateBytes } = exchange;
  const noAuth = { session, authValue: new Uint8Array() };
  switch (name) {
    case 'TPM2_Create':
      return create(tpm, entity(parent), TEMPLATE, bytes(authValue), noAuth);
    case 'TPM2_Load':
      return load(
        tpm,
        entity(parent),
        { area: readPublicArea(bytes(area)), privateBytes: bytes(privateBytes) },
        noAuth,
      );
    case 'TPM2_Sign': {
      const publicArea = readPublicArea(bytes(area));
      const authorization = { session, authValue: bytes(authValue), encryptCommand: true };
      const scheme = schemeFor(publicArea, ALG.SHA256);
      return signatureOf(await sign(tpm, entity(key), bytes(digest), scheme, authorization), publicArea, ALG.SHA256);
    }
    case 'TPM2_ReadPublic':
      return readPublic(tpm, handle ?? 0);
    default:
      return properties(tpm, 0x20e, 3);
  }
}
