import { formatDate } from '../format-date.ts';
import { HoldfastError, type KeyInfo, type KeyUri, type ListedToken, parseKeyUri, storeOf } from '../index.ts';
import type { Context } from './context.ts';
import { ONE_SHOT, secretFor, withModule } from './key-flags.ts';
import type { Output } from './output.ts';

/** Show what a store sees. Logs in only with `--login`. */
export async function list(context: Context): Promise<void> {
  const { flags, output, received, signal, words } = context;
  const [text] = words;
  if (text === undefined) {
    throw new HoldfastError('ERR_USAGE', `list needs the URI of a token or of a module; received ${received}`, {
      hint: "write holdfast list 'pkcs11:token=NAME?module-path=/path', in quotes",
    });
  }
  const uri = parseKeyUri(withModule(text, flags.text('pkcs11-lib')));
  const store = await storeOf(uri);
  if (!store.list) {
    throw new HoldfastError('ERR_STORE_INCAPABLE', `${uri.scheme}: keys cannot be listed`, {
      hint: 'give a pkcs11: or tpm: URI; a file is one key',
    });
  }
  const login = flags.on('login');
  const seconds = flags.integer('deadline');
  const found = await store.list(uri, {
    ...ONE_SHOT,
    login,
    ...(login && { secret: secretFor(uri, flags, signal) }),
    allowCommands: flags.on('allow-pin-command'),
    purpose: 'list what the token holds',
    notify: ({ kind, message, hint }) => output.tell(kind, message, hint),
    signal,
    deadline: seconds === undefined ? undefined : seconds * 1000,
  });
  if (flags.on('json') || flags.text('output') === 'json') {
    return output.result(`${JSON.stringify(found.map(plain))}\n`);
  }
  await output.result(found.map(inWords).join(''));
  tellWhatIsHidden(found, uri, login, output);
}

/** Dates as everywhere else: without milliseconds. Certificates themselves are read with read-certificate-data. */
const plain = (one: KeyInfo): object =>
  one.kind === 'certificate' ? { ...one, der: undefined, notAfter: one.notAfter && formatDate(one.notAfter) } : one;

function inWords(one: KeyInfo): string {
  const lines = one.kind === 'token' ? tokenLines(one) : [`  ${lineOf(one)}`, `    ${one.uri}`];
  // Labels and subjects are text of anybody's making.
  return lines.map((line) => `${line.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')}\n`).join('');
}

function tokenLines(token: ListedToken): string[] {
  const needs = token.loginRequired ? 'needs a login' : 'needs no login';
  const serial = token.serial && `serial ${token.serial}, `; // a TPM has none
  return [
    `token "${token.label}" (${token.manufacturer}, ${token.model}, ${serial}slot ${token.slot})`,
    `  PIN: ${token.pin}; ${needs}${token.keypad ? ', on a keypad of its own' : ''}`,
    `  signs with: ${token.mechanisms.join(' ') || 'it does not say'}`,
    `  ${token.uri}`,
  ];
}

function lineOf(one: Exclude<KeyInfo, ListedToken>): string {
  const id = one.id && ` (id ${one.id})`;
  const name = one.label ? `"${one.label}"${id}` : id.trim() || 'without a name';
  if (one.kind === 'certificate') {
    const until = one.notAfter === undefined ? 'cannot be read' : `valid until ${formatDate(one.notAfter)}`;
    return `certificate ${name}: ${one.subject === undefined ? until : `${one.subject || 'no subject'}, ${until}`}`;
  }
  const facts = [
    one.type,
    one.certificate ? 'with a certificate' : 'without a certificate',
    ...(one.alwaysAuthenticate ? ['wants its PIN for every signature'] : []),
    ...(one.privateSeen ? [] : ['only its public half shows']),
  ];
  return `key ${name}: ${facts.join(', ')}`;
}

function tellWhatIsHidden(found: readonly KeyInfo[], uri: KeyUri, login: boolean, output: Output): void {
  const isEmpty = found.length === 0;
  if (isEmpty) output.tell('note', uri.path.size === 0 ? 'there is no token' : 'there is nothing that the URI fits');
  const hides = found.some((one) =>
    one.kind === 'token' ? one.loginRequired : one.kind === 'key' && !one.privateSeen,
  );
  if (!login && (hides || (isEmpty && uri.path.size > 0))) {
    output.tell('note', 'private keys may be hidden until somebody logs in: --login, with the URI of one token');
  }
}
