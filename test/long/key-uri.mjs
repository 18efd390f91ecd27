// Any text is a key URI or an ERR_URI_INVALID; what is written reads back as the same; no secret is ever printed.
import assert from 'node:assert/strict';
import { formatKeyUri, HoldfastError, parseKeyUri } from '../../dist/index.js';
import { randomFrom } from '../helpers/random.mjs';

export const asked = 1_000_000;

const NAMES = [
  'token',
  'id',
  'object',
  'type',
  'serial',
  'slot-id',
  'pin-value',
  'auth-value',
  'pin-source',
  'module-path',
  'x-own',
];

/** Pieces that a key URI is made of, and pieces that must not stand in one. */
const PIECES = [
  '%',
  '%2',
  '%00',
  '%ff',
  '%C3%A9',
  ';',
  '&',
  '?',
  '=',
  ':',
  '/',
  '//',
  '\\',
  '#',
  ' ',
  '\0',
  'é',
  '\u{1F512}',
  '\ud800',
];

export function slice(cases, seed) {
  const random = randomFrom(seed);
  for (let i = 0; i < cases; i += 1) {
    const text = random.below(3) === 0 ? soup(random) : damaged(random, wellFormed(random));
    try {
      check(text);
    } catch (cause) {
      throw new Error(`case ${i} of seed ${seed}: ${JSON.stringify(text)}`, { cause });
    }
  }
}

function check(text) {
  let uri;
  try {
    uri = parseKeyUri(text);
  } catch (error) {
    assert.ok(error instanceof HoldfastError, `not a HoldfastError: ${String(error)}`);
    assert.equal(error.code, 'ERR_URI_INVALID');
    return;
  }
  const shown = String(uri);
  assert.equal(JSON.stringify(uri), JSON.stringify(shown));
  const attributes = shown.slice(`${uri.scheme}:${uri.location}`.length);
  for (const [, value] of attributes.matchAll(/(?<![\w-])(?:pin|auth)-value=([^;&?]*)/g)) {
    assert.equal(value, '***', 'a secret is printed');
  }
  if (uri.location === '') {
    const again = parseKeyUri(formatKeyUri(uri));
    assert.deepEqual(plain(again), plain(uri));
    if (!attributes.includes('***')) assert.deepEqual(plain(parseKeyUri(shown)), plain(uri));
  }
}

const plain = ({ scheme, location, path, query }) => ({
  scheme,
  location,
  path: [...path].map(([name, value]) => [name, Buffer.from(value).toString('hex')]),
  query: [...query].map(([name, value]) => [name, Buffer.from(value).toString('hex')]),
});

function wellFormed(random) {
  const value = () => random.bytes(random.below(12)).reduce((text, byte) => text + encoded(random, byte), '');
  const pairs = (n) => Array.from({ length: n }, () => `${random.of(NAMES)}=${value()}`);
  const query = pairs(random.below(3)).join('&');
  return `${random.of(['pkcs11', 'PKCS11', 'tpm', 'file', 'x'])}:${pairs(random.below(5)).join(';')}${query && `?${query}`}`;
}

const encoded = (random, byte) =>
  /[A-Za-z0-9._~-]/.test(String.fromCharCode(byte)) && random.below(2) === 0
    ? String.fromCharCode(byte)
    : `%${byte.toString(16).padStart(2, '0')}`;

function damaged(random, text) {
  if (random.below(2) === 0) return text;
  const at = random.below(text.length + 1);
  const gone = random.below(3);
  return text.slice(0, at) + random.of(PIECES) + text.slice(at + gone);
}

const soup = (random) =>
  Array.from({ length: random.below(12) }, () => random.of([...PIECES, ...NAMES, 'pkcs11:', 'file:', 'C:'])).join('');
