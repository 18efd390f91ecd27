import { describe, expect, test } from '@jest/globals';
import { checkExposure } from '../../src/stores/file/exposure.ts';
import { open } from '../../src/stores/file/index.ts';
import type { Notice, OpenOptions } from '../../src/stores/store.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { ecKey, place } from '../helpers/key-files.ts';
import { failure } from '../stores/conformance.ts';

const files = place();
const pem = ecKey().export({ type: 'pkcs8', format: 'pem' });

async function openWith(mode: number, options: OpenOptions = {}): Promise<Notice[]> {
  const path = await files.write('key.pem', pem, mode);
  const notices: Notice[] = [];
  await (await open(parseKeyUri(path), { notify: (notice) => notices.push(notice), ...options })).close();
  return notices;
}

describe('the bits of a key file', () => {
  test.each([0o600, 0o400, 0o700, 0o611])('%o: nothing to say', async (mode) => {
    expect(await openWith(mode)).toEqual([]);
    expect(await openWith(mode, { strictFiles: true })).toEqual([]);
  });

  test.each([0o640, 0o604, 0o644, 0o444, 0o655])('%o: a warning, or under strictFiles a refusal', async (mode) => {
    expect(await openWith(mode)).toEqual([
      {
        kind: 'warning',
        message: expect.stringMatching(/^other users can read the key file .+ \(mode 0\d\d\d\)$/),
        hint: expect.stringMatching(/chmod go-r/),
      },
    ]);
    expect((await failure(openWith(mode, { strictFiles: true }))).code).toBe('ERR_KEY_EXPOSED');
    // Nobody need listen.
    await openWith(mode, { notify: undefined });
  });

  test.each([0o620, 0o602, 0o660, 0o666, 0o777])('%o: refused', async (mode) => {
    for (const strictFiles of [false, true]) {
      const error = await failure(openWith(mode, { strictFiles }));
      expect(error.code).toBe('ERR_KEY_EXPOSED');
      expect(error.hint).toMatch(/chmod go-w/);
    }
  });

  test('what the file is comes before who can write it', async () => {
    const path = await files.write('none.pem', 'no key', 0o666);
    expect((await failure(open(parseKeyUri(path), {}))).code).toBe('ERR_KEY_INVALID');
  });
});

describe('the owner of a key file', () => {
  const check = (uid: number, user: number | undefined, options: OpenOptions = {}): Notice[] => {
    const notices: Notice[] = [];
    const stat = { mode: 0o100600, uid, isFile: () => true, isFIFO: () => false };
    checkExposure(stat, 'key file /k', { notify: (notice) => notices.push(notice), ...options }, user);
    return notices;
  };

  test.each([
    ['ourselves', 1000, 1000],
    ['root', 0, 1000],
    ['anybody, when we are root', 1001, 0],
    ['anybody, where there are no owners', 0, undefined],
  ])('%s', (_, uid, user) => {
    expect(check(uid, user)).toEqual([]);
  });

  test('another user: a warning, or under strictFiles a refusal', () => {
    expect(check(1001, 1000)).toEqual([
      { kind: 'warning', message: 'the key file /k belongs to another user (uid 1001)', hint: expect.any(String) },
    ]);
    expect(() => check(1001, 1000, { strictFiles: true })).toThrow(/belongs to another user/);
  });

  test('devices and what has no bits are left alone', () => {
    const device = { mode: 0o020666, uid: 0, isFile: () => false, isFIFO: () => false };
    checkExposure(device, 'key file /dev/null', { strictFiles: true }, 1000);
    const file = { mode: 0o100666, uid: 0, isFile: () => true, isFIFO: () => false };
    checkExposure(file, 'key file C:\\key', { strictFiles: true }, undefined);
  });
});
