import { generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import pkcs11js, { type Attribute } from 'pkcs11js';
import { HoldfastError } from '../../src/errors.ts';
import * as pkcs11 from '../../src/stores/pkcs11/in-place.ts';
import type { KeyInfo } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeCertificate } from '../helpers/certificate-maker.ts';
import { randomFrom } from '../helpers/random.mjs';
import { withRaw } from '../helpers/raw-pkcs11.ts';
import { describeSoftHsm, makeToken, setRealEnvironment, type TestToken } from '../helpers/softhsm.ts';
import { failure } from '../stores/conformance.ts';

/** The name of an object, in clear. */
interface Name {
  readonly id: string;
  readonly object: string;
}

/** Every pair of these: objects that share an identifier, a label, and the lack of either. */
const NAMES: readonly Name[] = ['', '\u0001', '\u0002'].flatMap((id) =>
  ['', 'web', 'mail'].map((object) => ({ id, object })),
);

interface Pair {
  readonly name: Name;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

describeSoftHsm('names that tell one object from another', () => {
  let token: TestToken;
  const pairs: readonly Pair[] = NAMES.map((name) => ({ name, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) }));
  const message = Buffer.from('message');

  beforeAll(async () => {
    token = await makeToken();
    setRealEnvironment(token.env);
  });
  afterAll(() => token.remove());
  beforeEach(() =>
    withRaw(token, (raw) => {
      for (const object of raw.find([])) raw.pkcs11.C_DestroyObject(raw.session, object);
    }),
  );

  /** Both halves of a pair, and certificates for them, of which each has the serial number of its place in the list. */
  function put(keys: readonly Pair[], certificates: readonly Pair[]): void {
    const named = ({ name }: Pair): Attribute[] => [
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_ID, value: Buffer.from(name.id) },
      { type: pkcs11js.CKA_LABEL, value: name.object },
    ];
    const curve = Buffer.from('06082a8648ce3d030107', 'hex');
    const kind = (value: number): Attribute[] => [
      { type: pkcs11js.CKA_CLASS, value },
      { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_EC },
      { type: pkcs11js.CKA_EC_PARAMS, value: curve },
    ];
    withRaw(token, ({ pkcs11: driver, session }) => {
      for (const pair of keys) {
        const { x = '', y = '', d = '' } = pair.privateKey.export({ format: 'jwk' });
        const bytes = (text: string): Buffer => Buffer.from(text, 'base64url');
        const point = Buffer.concat([Buffer.of(0x04, 0x41, 0x04), bytes(x), bytes(y)]);
        driver.C_CreateObject(session, [
          ...kind(pkcs11js.CKO_PUBLIC_KEY),
          ...named(pair),
          { type: pkcs11js.CKA_PRIVATE, value: false },
          { type: pkcs11js.CKA_EC_POINT, value: point },
        ]);
        driver.C_CreateObject(session, [
          ...kind(pkcs11js.CKO_PRIVATE_KEY),
          ...named(pair),
          { type: pkcs11js.CKA_PRIVATE, value: true },
          { type: pkcs11js.CKA_SENSITIVE, value: true },
          { type: pkcs11js.CKA_SIGN, value: true },
          { type: pkcs11js.CKA_VALUE, value: bytes(d) },
        ]);
      }
      for (const { name, publicKey, privateKey } of certificates) {
        driver.C_CreateObject(session, [
          ...named({ name, publicKey, privateKey }),
          { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE },
          { type: pkcs11js.CKA_CERTIFICATE_TYPE, value: 0 },
          { type: pkcs11js.CKA_PRIVATE, value: false },
          { type: pkcs11js.CKA_SUBJECT, value: Buffer.from('300f310d300b06035504030c0470616972', 'hex') },
          {
            type: pkcs11js.CKA_VALUE,
            value: makeCertificate({ subject: 'pair', issuer: 'pairs', publicKey, issuerKey: privateKey }),
          },
        ]);
      }
    });
  }

  const list = (uri: string, login: boolean): Promise<readonly KeyInfo[]> =>
    pkcs11.list(parseKeyUri(uri), { login, secret: token.pin });
  const urisIn = ({ hint }: HoldfastError): string[] => hint?.match(/pkcs11:\S+/g) ?? [];
  const nameIn = (uri: string): Name => {
    const { path } = parseKeyUri(uri);
    const text = (name: string): string => Buffer.from(path.get(name) ?? []).toString();
    return { id: text('id'), object: text('object') };
  };

  /** Which pair signs when this URI is opened. */
  async function openedBy(uri: string): Promise<Name | undefined> {
    const key = await pkcs11.open(parseKeyUri(uri), { secret: token.pin });
    const signature = await key.sign(message);
    await key.close();
    return pairs.find(({ publicKey }) => verify('sha256', message, publicKey, signature))?.name;
  }

  /** What the URIs of an error select: no two the same, and each what its name says. */
  async function checkHints(error: HoldfastError): Promise<void> {
    const uris = urisIn(error);
    expect(uris.length).toBeGreaterThan(1);
    for (const uri of uris) {
      const isCertificate = error.code === 'ERR_CERTIFICATE_AMBIGUOUS';
      const found = isCertificate ? await list(uri, false) : await openedBy(uri);
      expect(found).toEqual(isCertificate ? [expect.objectContaining({ uri: expect.anything() })] : nameIn(uri));
    }
    expect(new Set(uris).size).toBe(uris.length);
  }

  const random = randomFrom(18);
  const some = (): readonly Pair[] => pairs.filter(() => random.below(2) === 1);
  const SETS = [
    { keys: pairs, certificates: pairs },
    ...Array.from({ length: 5 }, () => ({ keys: some(), certificates: some() })),
  ];

  test.each(SETS.map((set, at) => [at, set] as const))(
    'set %i: every URI selects what it stands beside, and that alone',
    async (_, set) => {
      put(set.keys, set.certificates);
      for (const login of [true, false]) {
        const found = await list(token.uri(), login);
        const of = (kind: KeyInfo['kind']): readonly KeyInfo[] => found.filter((one) => one.kind === kind);
        expect([of('key').length, of('certificate').length]).toEqual([set.keys.length, set.certificates.length]);
        for (const one of [...of('key'), ...of('certificate')]) {
          const again = await list(one.uri, login);
          expect(again.filter(({ kind }) => kind === one.kind).map(({ uri }) => uri)).toEqual([one.uri]);
          if (one.kind === 'key') expect(await openedBy(one.uri)).toEqual(nameIn(one.uri));
          if (one.kind === 'certificate')
            expect(await pkcs11.readCertificates(parseKeyUri(one.uri), {})).toEqual([one.der]);
        }
      }
      for (const asked of [{}, { id: '' }, { id: '\u0001' }, { object: '' }, { object: 'web' }]) {
        const fitting = set.keys.filter(
          ({ name }) => (asked.id ?? name.id) === name.id && (asked.object ?? name.object) === name.object,
        );
        if (fitting.length > 1) {
          const error = await failure(openedBy(token.uri(asked)));
          expect(error.code).toBe('ERR_KEY_AMBIGUOUS');
          expect(urisIn(error)).toHaveLength(fitting.length);
          await checkHints(error);
        }
        const read = pkcs11.readCertificates(parseKeyUri(token.uri({ ...asked, type: 'cert' })), {});
        const outcome: unknown = await read.catch((error: unknown) => error);
        if (outcome instanceof HoldfastError) await checkHints(outcome);
      }
    },
  );

  test('an empty part of a name is said only where it matters', async () => {
    const named = (id: string, object: string): Pair =>
      pairs.find(({ name }) => name.id === id && name.object === object) as Pair;
    const ends = async (): Promise<string[]> =>
      (await list(token.uri(), true)).map(({ uri }) => /serial=[^;?]*(.*)\?/.exec(uri)?.[1] ?? '').sort();
    put([named('\u0001', ''), named('', 'web')], []);
    expect(await ends()).toEqual(['', ';id=%01', ';object=web']);
    put([named('\u0001', 'web')], []);
    expect(await ends()).toEqual(['', ';id=%01;object=', ';id=%01;object=web', ';id=;object=web']);
  });

  test('two of one name: no URI tells them apart, and that is said', async () => {
    const [first, second] = pairs as [Pair, Pair];
    const twins = [first, { ...second, name: first.name }];
    put(twins, twins);
    const uri = parseKeyUri(token.uri({ id: '' }));
    for (const what of [pkcs11.open(uri, { secret: token.pin }), pkcs11.readCertificates(uri, {})]) {
      const error = await failure(what);
      expect(error.code).toMatch(/^ERR_(KEY|CERTIFICATE)_AMBIGUOUS$/);
      expect(error.hint).toBe('they have the same id and object: give them different ones first');
    }
  });
});
