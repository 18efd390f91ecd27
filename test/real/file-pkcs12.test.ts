import { execFileSync, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmodSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { withIdentity } from '../../src/identity.ts';
import { toPem } from '../../src/pki.ts';
import { open, openKeyBytes, readCertificates } from '../../src/stores/file/index.ts';
import { derivePkcs12, PURPOSE } from '../../src/stores/file/pkcs12-derive.ts';
import type { OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { canaries } from '../helpers/canaries.ts';
import { makeIdentity, type TestIdentity } from '../helpers/certificates.ts';
import { expectSigns, place } from '../helpers/key-files.ts';
import { contentsOf, encryptedFile, exporter, joined, pfxOf, safeOf, toBer } from '../helpers/pkcs12-files.ts';
import { failure, tellsOf } from '../stores/conformance.ts';

const files = place();
const PASSPHRASE = canaries.passphrase;
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const describeOpenssl = hasOpenssl ? describe : describe.skip;
const openAt = (path: string, options: OpenOptions = {}) => open(parseKeyUri(path), options);
const hexOf = (ders: readonly Uint8Array[]): string[] => ders.map((der) => Buffer.from(der).toString('hex'));
const forbidden = (): never => {
  throw new Error('asked');
};

let rsa: TestIdentity;
let ec: TestIdentity;
beforeAll(async () => {
  rsa = await makeIdentity({ keyType: 'RSA-2048', intermediates: 1 });
  ec = await makeIdentity({ intermediates: 2 });
  for (const [name, { pem, certificatePem, intermediates, root }] of [['rsa', rsa] as const, ['ec', ec] as const]) {
    await files.write(`${name}.pem`, pem + certificatePem + toPem([...intermediates, root]));
  }
});

const chainOf = ({ certificate, intermediates, root }: TestIdentity): string[] =>
  hexOf([certificate, ...intermediates, root]);

const exported = exporter(files);
const NONE = ['-keypbe', 'NONE', '-certpbe', 'NONE'];

const VARIANTS: readonly (readonly string[])[] = [
  [],
  ['-macalg', 'SHA1'],
  ['-macalg', 'SHA224'],
  ['-macalg', 'SHA384'],
  ['-macalg', 'SHA512'],
  ['-keypbe', 'AES-128-CBC', '-certpbe', 'AES-192-CBC', '-macalg', 'SHA512'],
  ['-keypbe', 'CAMELLIA-256-CBC', '-certpbe', 'ARIA-128-CBC'],
  ['-iter', '20000'],
  ['-noiter', '-nomaciter'],
  ['-legacy'],
  ['-legacy', '-macalg', 'SHA512'],
  ['-descert', '-keypbe', 'PBE-SHA1-3DES', '-macalg', 'SHA1'],
  ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128', '-keypbe', 'PBE-SHA1-2DES'],
  ['-legacy', '-certpbe', 'PBE-SHA1-RC2-40', '-keypbe', 'PBE-SHA1-RC2-40'],
  ['-legacy', '-keypbe', 'AES-256-CBC'],
  NONE,
  ['-nomac'],
  ['-nomac', '-legacy'],
  ['-nomac', '-certpbe', 'NONE'],
  ['-keypbe', 'NONE'],
];

describeOpenssl(`PKCS#12 files${hasOpenssl ? '' : ' (skipped: openssl is not installed)'}`, () => {
  describe.each([
    ['of ASCII', PASSPHRASE],
    ['not of ASCII', 'gr\u00fcne Gurken \u{1F512}'],
  ])('a passphrase %s', (_, passphrase) => {
    test.each(VARIANTS.map((options) => [options.join(' ') || 'defaults', options] as const))(
      'RSA and EC with the chain: %s',
      async (__, options) => {
        for (const [name, identity] of [['rsa.pem', rsa] as const, ['ec.pem', ec] as const]) {
          const path = exported(name, passphrase, ...options);
          for (const secret of [passphrase, Buffer.from(passphrase)]) {
            const opened = await openAt(path, { secret });
            expect(hexOf(opened.certificates)).toEqual(chainOf(identity));
            await expectSigns(Promise.resolve(opened), identity.privateKey);
          }
          const wrong = await failure(openAt(path, { secret: `${passphrase}x` }));
          expect(wrong.code).toBe('ERR_SECRET_WRONG');
          expect(tellsOf(wrong, passphrase)).toBe(false);
          expect((await failure(openAt(path))).code).toBe('ERR_SECRET_REQUIRED');
          expect(hexOf(await readCertificates(parseKeyUri(path), { secret: passphrase }))).toEqual(chainOf(identity));
        }
      },
    );

    test('neither encryption nor a MAC: nothing is asked', async () => {
      const path = exported('ec.pem', passphrase, ...NONE, '-nomac');
      await expectSigns(openAt(path, { secret: forbidden }), ec.privateKey);
      expect(await readCertificates(parseKeyUri(path), { secret: forbidden })).toHaveLength(4);
    });
  });

  describe('an empty passphrase is not asked for', () => {
    test.each(VARIANTS.map((options) => [options.join(' ') || 'defaults', options] as const))(
      '%s',
      async (_, options) => {
        const path = exported('ec.pem', '', ...options);
        await expectSigns(openAt(path, { secret: forbidden }), ec.privateKey);
        expect(await readCertificates(parseKeyUri(path), { secret: forbidden })).toHaveLength(4);
      },
    );
  });

  describe('what else a file may be like', () => {
    test('a passphrase of more than a block, with trailing blanks', async () => {
      const secret = `${'x'.repeat(300)}  `;
      for (const options of [[], ['-legacy', '-macalg', 'SHA512']]) {
        await expectSigns(openAt(exported('ec.pem', secret, ...options), { secret }), ec.privateKey);
      }
    });

    test('a passphrase that is no UTF-8 counts as Latin-1', async () => {
      const secret = Buffer.from('gr\u00fcn', 'latin1');
      await expectSigns(openAt(exported('ec.pem', secret, '-legacy'), { secret }), ec.privateKey);
      await expectSigns(openAt(exported('ec.pem', secret), { secret }), ec.privateKey);
    });

    test('no passphrase at all, which is another than an empty one', async () => {
      const path = exported('ec.pem', '', ...NONE, '-macalg', 'SHA1', '-noiter', '-nomaciter');
      const file = readFileSync(path);
      // MacData with one round ends in the digest, and the salt of 8 octets.
      const [digest, salt] = [file.subarray(-30, -10), file.subarray(-8)];
      const macOf = async (passphrase: Uint8Array | undefined): Promise<Buffer> => {
        const key = await derivePkcs12(passphrase, { salt, rounds: 1, hash: 'sha1' }, PURPOSE.mac, 20);
        return createHmac('sha1', key).update(safeOf(file)).digest();
      };
      expect(digest).toEqual(await macOf(Buffer.alloc(0)));
      digest.set(await macOf(undefined));
      await files.write('none.p12', file);
      execFileSync('openssl', ['pkcs12', '-in', files.path('none.p12'), '-noout', '-passin', 'pass:'], {
        stdio: 'pipe',
      });
      await expectSigns(openKeyBytes(file, { secret: forbidden }), ec.privateKey);
    });

    test('the chain before the leaf, the key behind both', async () => {
      const nothing = ['-nomac', ...NONE];
      await files.write('chain.pem', toPem([ec.root, ...[...ec.intermediates].reverse()]));
      await files.write('leaf.pem', ec.certificatePem + ec.pem);
      const [chain, leaf] = [
        readFileSync(exported('chain.pem', '', '-nokeys', ...nothing)),
        readFileSync(exported('leaf.pem', '', ...nothing)),
      ];
      const opened = await openKeyBytes(joined(chain, leaf));
      const above = hexOf([ec.root, ...[...ec.intermediates].reverse()]);
      expect(hexOf(opened.certificates)).toEqual([...hexOf([ec.certificate]), ...above]);
      await expectSigns(Promise.resolve(opened), ec.privateKey);
    });

    test('a key without certificates', async () => {
      const opened = await openAt(exported('ec.pem', 'x', '-nocerts'), { secret: 'x' });
      expect(opened.certificates).toEqual([]);
      await expectSigns(Promise.resolve(opened), ec.privateKey);
    });

    test('BER, as browsers write it: lengths left out, octets in pieces', async () => {
      for (const options of [[], ['-legacy'], NONE]) {
        const file = readFileSync(exported('ec.pem', PASSPHRASE, ...options));
        await expectSigns(openKeyBytes(toBer(file), { secret: PASSPHRASE }), ec.privateKey);
        // Inside as well: the MAC would be another then.
        const inner = toBer(pfxOf(toBer(safeOf(file))));
        const opened = await openKeyBytes(inner, { secret: PASSPHRASE });
        expect(hexOf(opened.certificates)).toEqual(chainOf(ec));
        await expectSigns(Promise.resolve(opened), ec.privateKey);
      }
    });

    test('keys and certificates in one encrypted part, in DER and in BER', async () => {
      const contents = contentsOf(readFileSync(exported('ec.pem', '', ...NONE, '-nomac')));
      for (const plain of [contents, toBer(contents)]) {
        const opened = await openKeyBytes(encryptedFile(plain, PASSPHRASE), { secret: PASSPHRASE });
        expect(hexOf(opened.certificates)).toEqual(chainOf(ec));
        await expectSigns(Promise.resolve(opened), ec.privateKey);
      }
    });

    test('attributes of Windows and a name', async () => {
      const path = exported(
        'rsa.pem',
        'x',
        '-CSP',
        'Microsoft Enhanced Provider',
        '-LMK',
        '-keyex',
        '-name',
        'caf\u00e9',
      );
      await expectSigns(openAt(path, { secret: 'x' }), rsa.privateKey);
    });
  });

  describe('the passphrase', () => {
    test('is asked for once, and told what for', async () => {
      const path = exported('ec.pem', PASSPHRASE);
      const asked: unknown[] = [];
      const secret = (request: unknown): string => {
        asked.push(request);
        return PASSPHRASE;
      };
      await expectSigns(openAt(path, { secret, purpose: 'sign in' }), ec.privateKey);
      expect(asked).toEqual([{ kind: 'passphrase', of: `key file ${path}`, purpose: 'sign in' }]);
    });

    test('comes from pin-value and pin-source', async () => {
      const path = exported('ec.pem', PASSPHRASE);
      const source = await files.write('passphrase', `${PASSPHRASE}\n`);
      await expectSigns(openAt(`file:${path}?pin-value=${encodeURIComponent(PASSPHRASE)}`), ec.privateKey);
      await expectSigns(openAt(`file:${path}?pin-source=${source}`), ec.privateKey);
    });

    test('is not asked for a file that others can write', async () => {
      const path = exported('ec.pem', PASSPHRASE);
      chmodSync(path, 0o622);
      expect((await failure(openAt(path, { secret: forbidden }))).code).toBe('ERR_KEY_EXPOSED');
    });

    test('is checked against the MAC before anything is decrypted', async () => {
      const file = readFileSync(exported('ec.pem', PASSPHRASE));
      // MacData ends in salt and count: the digest stands before them.
      const [digestEnd, changed] = [file.length - 20, Buffer.from(file)];
      changed[digestEnd] = (changed[digestEnd] as number) ^ 1;
      const error = await failure(openKeyBytes(changed, { secret: PASSPHRASE }));
      expect(error.code).toBe('ERR_SECRET_WRONG');
    });

    test('an interrupted or late prompt ends', async () => {
      const path = exported('ec.pem', PASSPHRASE);
      const secret = (): Promise<string> => new Promise(() => {});
      expect((await failure(openAt(path, { secret, deadline: 100 }))).code).toBe('ERR_SIGNING_TIMEOUT');
    });
  });

  describe('as an identity', () => {
    const identityOf = (certificate: string, key?: string) => {
      const asked: string[] = [];
      const secret = ({ of }: { of: string }): string => {
        asked.push(of);
        return PASSPHRASE;
      };
      return withIdentity({ certificate, key, secret }, async (identity) => {
        expect(identity.certificate.der).toEqual(Buffer.from(ec.certificate));
        expect(hexOf(identity.chain.map(({ der }) => der))).toEqual(hexOf(ec.intermediates));
        expect(identity.matched).toBe(true);
        return asked;
      });
    };

    test('named as the certificate alone, or as both: asked once', async () => {
      const path = exported('ec.pem', PASSPHRASE);
      expect(await identityOf(path)).toEqual([`key file ${path}`]);
      expect(await identityOf(path, path)).toEqual([`key file ${path}`]);
      expect(await identityOf(path, `file:${path}`)).toEqual([`key file ${path}`]);
    });

    test('named as the certificate of a key in another file', async () => {
      const path = exported('ec.pem', PASSPHRASE, '-nokeys');
      const key = await files.write('key.pem', ec.pem);
      expect(await identityOf(path, key)).toEqual([`certificate file ${path}`]);
    });

    test('named as the certificate, with a passphrase of its own beside that of the key', async () => {
      const path = exported('ec.pem', 'another', '-nokeys');
      const locked = ec.privateKey.export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase: PASSPHRASE,
      });
      const key = await files.write('locked.pem', locked);
      expect(await identityOf(`file:${path}?pin-value=another`, key)).toEqual([`key file ${key}`]);
    });

    test('without certificates', async () => {
      const path = exported('ec.pem', '', '-nocerts');
      const error = await failure(identityOf(path));
      expect(error.code).toBe('ERR_CERTIFICATE_REQUIRED');
    });
  });
});
