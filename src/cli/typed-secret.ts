import { asksPerson, Secret, type SecretRequest, type SecretSource } from '../secret.ts';

/**
 * What a person typed is asked for once and kept in memory only: a process that goes on for days has nobody to ask at
 * three in the morning. When it is used again it is a stored secret, and never spent on the last try of a token. All
 * other sources stay what they are.
 */
export function askOnce(source: SecretSource | undefined): SecretSource | undefined {
  if (typeof source !== 'function' || !asksPerson(source)) return source;
  const typed = new Map<string, Secret>();
  const ask = async (request: SecretRequest): Promise<Secret | undefined> => {
    const what = `${request.kind} of ${request.of}`;
    const kept = typed.get(what);
    if (kept) return new Secret(kept.bytes);
    const answer = await source(request);
    if (answer === undefined) return undefined;
    const secret = answer instanceof Secret ? answer : new Secret(answer);
    typed.set(what, new Secret(secret.bytes));
    return secret;
  };
  return Object.defineProperty(ask, 'interactive', { get: () => typed.size === 0 });
}
