import { expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import { checkSession } from '../../src/check-session.ts';
import { formatLine } from '../../src/cli/output.ts';
import { withIdentity } from '../../src/identity.ts';
import { trustedRoots } from '../../src/roots.ts';
import { type Token, tokenInWords } from '../../src/stores/pkcs11/token.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ARNS } from '../helpers/create-session.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

/** A zero-width space, a mark that turns the direction of writing, a byte order mark. */
const ODD = 'a\u200bb\u202ec\ufeffd';

test.each<[what: string, print: () => Promise<string> | string]>([
  ['a line on the terminal', () => formatLine('error', ODD)],
  ['a key URI', () => String(parseKeyUri(`file:${ODD}`))],
  ['the path of a CA bundle', async () => (await rejectionOf(trustedRoots(`/absent/${ODD}`, undefined))).message],
  ['the label of a token', () => tokenInWords({ label: ODD, serial: '1' } as Token)],
  ['a region', () => thrownBy(() => checkSession({ ...ARNS, region: ODD })).message],
  [
    'the subject of a certificate',
    async () => {
      const [own, other] = [await makeIdentity({ commonName: ODD }), await makeIdentity()];
      const { publicKey } = parseCertificate(other.certificate);
      const signer = { sign: async () => Buffer.alloc(1), publicKey };
      const used = withIdentity({ signer, certificate: own.certificate }, async () => 0);
      return (await rejectionOf(used)).message;
    },
  ],
])('characters that cannot be seen are not in %s', async (_what, print) => {
  const text = await print();
  expect(text).toMatch(/a.+b.+c.+d/u);
  expect(text).not.toMatch(/\p{Cf}/u);
});
