import { describe, expect, test } from '@jest/globals';
import { parseCertificate } from '../../src/certificate.ts';
import { checkSession } from '../../src/check-session.ts';
import { toPem } from '../../src/pki.ts';
import { getCredentials } from '../../src/provider.ts';
import { trustedRoots } from '../../src/roots.ts';
import { createSession } from '../../src/session.ts';
import { makeIdentity } from '../helpers/certificates.ts';
import { ARNS } from '../helpers/create-session.ts';
import { place } from '../helpers/key-files.ts';
import { everythingOf, rejectionOf, thrownBy } from '../helpers/thrown.ts';

const files = place();

describe('a CA bundle', () => {
  test('adds to the roots of the system, with whatever stands between its certificates', async () => {
    const pem = `a comment\n${toPem([(await makeIdentity()).root])}`;
    const roots = await trustedRoots(await files.write('ca.pem', pem + pem), undefined);
    expect(roots.length).toBeGreaterThan(1);
    expect(roots.at(-1)).toBe(pem + pem);
  });

  test('without a certificate, or with a damaged one, is refused by its name', async () => {
    const good = toPem([(await makeIdentity()).root]);
    const [half, odd] = [good.slice(0, 300), good.replace(/\nM../, '\nMAA')];
    const refusalOf = async (content: string): Promise<unknown> =>
      rejectionOf(trustedRoots(await files.write('ca.pem', content), undefined));
    const name = `the CA bundle ${files.path('ca.pem')}`;
    const code = 'ERR_OPTION_INVALID';
    expect(await refusalOf('nothing')).toMatchObject({ code, message: `${name} holds no PEM certificate` });
    expect(await refusalOf(half)).toMatchObject({ code, message: `certificate 1 in ${name} is damaged` });
    expect(await refusalOf(good + odd)).toMatchObject({ code, message: `certificate 2 in ${name} is damaged` });
    expect(await refusalOf(half + good)).toMatchObject({ code, message: `certificate 1 in ${name} is damaged` });
  });

  test('pasted where its path belongs is not repeated', async () => {
    const caBundle = toPem([(await makeIdentity()).root]);
    const error = thrownBy(() => checkSession({ ...ARNS, caBundle }));
    expect(error).toMatchObject({ code: 'ERR_OPTION_INVALID', hint: 'give the path of the file, not its content' });
    expect(everythingOf(error)).not.toContain(caBundle.slice(40, 60));
  });

  test('that cannot be read costs neither an open key nor a signature', async () => {
    const identity = await makeIdentity();
    let signatures = 0;
    const signer = {
      sign: async () => {
        signatures += 1;
        return Buffer.alloc(1);
      },
    };
    const init = { ...ARNS, caBundle: files.path('absent'), certificate: identity.certificate };
    const unread = { code: 'ERR_FILE_NOT_FOUND', message: expect.stringContaining('CA bundle') };
    expect(await rejectionOf(getCredentials({ ...init, signer }))).toMatchObject(unread);
    // The key is not there either, and nobody has looked.
    expect(await rejectionOf(getCredentials({ ...init, key: files.path('no-key') }))).toMatchObject(unread);
    const known = { certificate: parseCertificate(identity.certificate) };
    expect(await rejectionOf(createSession({ ...known, chain: [], signer }, init))).toMatchObject(unread);
    expect(signatures).toBe(0);
  });
});
