// Credentials files in which indentation decides what is what: those that botocore can read it reads after the write too.
import { setProfile } from '../../dist/serve/index.js';
import { checkIndented } from '../helpers/indented-credentials.mjs';
import { holds } from '../not-exercised.mjs';

export const asked = 20_000;

export const skipped = (await holds('no-boto3')) ? 'boto3 is not installed' : undefined;

export function slice(cases, seed) {
  // As many as fit into one command line.
  for (let done = 0; done < cases; done += 2000) checkIndented(setProfile, seed + done, Math.min(2000, cases - done));
}
