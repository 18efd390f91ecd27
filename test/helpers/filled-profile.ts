import { setProfile } from '../../src/serve/credentials-file.ts';

/** What is written. */
export const NEW = {
  accessKeyId: 'ASIANEW',
  secretAccessKey: 'se/cr+et',
  sessionToken: 'to/ke+n==',
  expiration: new Date('2026-01-01T00:00:00.999Z'),
};

/** A file after the change; `{C}`, `{A}`, `{S}`, `{T}` stand for our lines without their ends. */
export const filled = (text: string): string =>
  text
    .replaceAll('{C}', '# holdfast: expires 2026-01-01T00:00:00Z')
    .replaceAll('{A}', 'aws_access_key_id = ASIANEW')
    .replaceAll('{S}', 'aws_secret_access_key = se/cr+et')
    .replaceAll('{T}', 'aws_session_token = to/ke+n==');

export const set = (text: string, profile = 'build'): string =>
  setProfile(Buffer.from(text, 'latin1'), profile, NEW).data.toString('latin1');
