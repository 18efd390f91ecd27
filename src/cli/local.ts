import { once } from 'node:events';
import { resolve } from 'node:path';
import { HoldfastError, type KeyUri, openKey, parseKeyUri } from '../index.ts';
import { type LocalRolesAnywhere, startLocalRolesAnywhere } from '../local/index.ts';
import type { Context } from './context.ts';
import { keyOptions, withModule } from './key-flags.ts';
import type { Output } from './output.ts';
import { makePlace, type Place } from './place.ts';

/**
 * Run the local service until a signal ends it. stdout gets one line of JSON, everything a program needs to use it;
 * stderr gets the same for a person.
 */
export async function local(context: Context): Promise<void> {
  const { flags, output, signal } = context;
  // The key comes first: what is wrong with it should not need a service to be found.
  const key = flags.text('key');
  const publicKey = key === undefined ? undefined : await publicKeyOf(key, context);
  const service = await startLocalRolesAnywhere({
    port: flags.integer('port'),
    tls: flags.on('tls'),
    lifeSeconds: flags.integer('life'),
  });
  try {
    const place = await makePlace(flags.text('directory'));
    try {
      const files = await writeFiles(service, place, publicKey);
      const { endpoint, stsEndpoint, region, accountId, trustAnchorArn, profileArn, roleArn } = service;
      const facts = { endpoint, stsEndpoint, region, accountId, trustAnchorArn, profileArn, roleArn, ...files };
      await output.result(`${JSON.stringify(facts)}\n`);
      output.tell('note', `a Roles Anywhere on ${endpoint}, an STS on ${stsEndpoint}, files in ${place.directory}`);
      if (key === undefined) output.tell('note', 'start it with --key to have a key certified');
      else tellCommand(withModule(key, flags.text('pkcs11-lib')), service, files, output);
      output.tell('note', 'it runs until Ctrl-C');
      if (!signal.aborted) await once(signal, 'abort');
    } finally {
      await place.remove();
    }
  } finally {
    await service.close();
  }
}

interface Files {
  readonly anchor: string;
  readonly caBundle?: string;
  readonly certificate?: string;
  readonly chain?: string;
}

/** An intermediate stands between anchor and leaf, as in most real hierarchies: forgetting the chain shows here. */
async function writeFiles(
  service: LocalRolesAnywhere,
  place: Place,
  publicKey: Uint8Array | undefined,
): Promise<Files> {
  const issued = publicKey && (await service.issue({ publicKey, commonName: 'holdfast local', intermediates: 1 }));
  return {
    anchor: await place.write('anchor.pem', service.anchor),
    ...(service.caBundle !== undefined && { caBundle: await place.write('ca-bundle.pem', service.caBundle) }),
    ...(issued && {
      certificate: await place.write('certificate.pem', issued.certificate),
      chain: await place.write('chain.pem', issued.chain),
    }),
  };
}

async function publicKeyOf(text: string, context: Context): Promise<Uint8Array> {
  const uri = parseKeyUri(withModule(text, context.flags.text('pkcs11-lib')));
  const opened = await openKey(uri, keyOptions(uri, context, 'have its public half certified'));
  try {
    if (opened.publicKey) return opened.publicKey;
    throw new HoldfastError('ERR_STORE_INCAPABLE', `${opened.description} shows no public half to certify`, {
      hint: 'put the public key on the token beside the private one',
    });
  } finally {
    await opened.close();
  }
}

/** A line to paste into a shell, from wherever. A secret in the key URI is left out: `***` would be tried as the PIN. */
function tellCommand(key: string, service: LocalRolesAnywhere, files: Files, output: Output): void {
  const uri = parseKeyUri(key);
  const pairs: readonly (readonly [string, string | undefined])[] = [
    ['--private-key', withoutSecret(uri)],
    ['--certificate', files.certificate],
    ['--intermediates', files.chain],
    ['--trust-anchor-arn', service.trustAnchorArn],
    ['--profile-arn', service.profileArn],
    ['--role-arn', service.roleArn],
    ['--endpoint', service.endpoint],
    ['--ca-bundle', files.caBundle],
  ];
  const given = pairs.flatMap(([name, value]) => (value === undefined ? [] : [name, shellQuote(value)]));
  output.tell('note', `run: ${['holdfast credential-process', ...given].join(' ')}`);
  if (String(uri).includes('=***')) {
    output.tell('note', 'its key URI is without its secret: type it when asked, or add pin-source=file:/path');
  }
}

function withoutSecret(uri: KeyUri): string {
  const place = uri.scheme === 'file' ? parseKeyUri(resolve(uri.location)) : undefined;
  const [left, query = ''] = String(uri).split('?') as [string, string?];
  const isKept = (pair: string): boolean => pair !== '' && !pair.endsWith('=***');
  const path = left.split(';').filter(isKept).join(';');
  const kept = query.split('&').filter(isKept);
  if (kept.length === 0) return place?.location ?? path;
  return `${String(place ?? path)}?${kept.join('&')}`;
}

/** POSIX sh: everything is literal between single quotes. */
export const shellQuote = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
