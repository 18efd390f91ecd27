// Generated credentials files: every octet that is not ours stays, and a second write changes nothing.
import assert from 'node:assert/strict';
import { setProfile } from '../../dist/serve/index.js';
import { checkOthers, newCredentials, oddFile, PROFILE } from '../helpers/odd-credentials.mjs';

export const asked = 100_000;

export function slice(cases, seed) {
  for (let at = seed; at < seed + cases; at += 1) {
    const file = oddFile(at);
    const credentials = newCredentials(at);
    try {
      const { data } = setProfile(file.data, PROFILE, credentials);
      checkOthers(file, data, credentials);
      assert(setProfile(data, PROFILE, credentials).data.equals(data));
    } catch (cause) {
      throw new Error(`file ${at}: ${JSON.stringify(file.data.toString('latin1'))}`, { cause });
    }
  }
}
