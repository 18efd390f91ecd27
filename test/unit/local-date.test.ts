import { expect, test } from '@jest/globals';
import { readDate } from '../../src/local/canonical.ts';

const dated = (text: string): Date | undefined =>
  readDate({
    method: 'POST',
    target: '/sessions',
    headers: [['X-Amz-Date', text]],
    body: Buffer.alloc(0),
  });

test('a date is read as it stands', () => {
  expect(dated('20260228T235959Z')).toEqual(new Date('2026-02-28T23:59:59Z'));
});

test.each([
  '20260230T000000Z',
  '20260431T120000Z',
  '20260101T240000Z',
  '2026-01-01T00:00:00Z',
  '20260101T000000',
  'now',
  '',
])('%p is no date', (text) => {
  expect(dated(text)).toBeUndefined();
});
