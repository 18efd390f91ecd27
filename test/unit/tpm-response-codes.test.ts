import { describe, expect, test } from '@jest/globals';
import { CC } from '../../src/stores/tpm/constants.ts';
import { explain, isGone, isResponse, RC, TpmError } from '../../src/stores/tpm/response-codes.ts';

// TPM 2.0 Part 2 §6.6.2 and §6.6.3; the codes are those that a TPM was seen to give.
test.each([
  [0x100, 'the TPM was not started (TPM_RC_INITIALIZE, 0x100)'],
  [0x12f, 'the object takes no authValue for this, only its policy (TPM_RC_AUTH_UNAVAILABLE, 0x12f)'],
  [0x18b, 'handle 1: the handle is not correct for the use (TPM_RC_HANDLE, 0x18b)'],
  [0x1c4, 'parameter 1: the value is out of range or not correct for the context (TPM_RC_VALUE, 0x1c4)'],
  [0x1df, 'parameter 1: the integrity check failed (TPM_RC_INTEGRITY, 0x1df)'],
  [0x2d6, 'parameter 2: the symmetric algorithm or key size is not supported (TPM_RC_SYMMETRIC, 0x2d6)'],
  [0x3e0, 'parameter 3: the ticket is not valid (TPM_RC_TICKET, 0x3e0)'],
  [0x902, 'no memory for another object (TPM_RC_OBJECT_MEMORY, 0x902)'],
  [0x910, 'handle 1 is not there any more (TPM_RC_REFERENCE_H0, 0x910)'],
  [0x918, 'session 1 is not there any more (TPM_RC_REFERENCE_S0, 0x918)'],
  [0x921, 'the TPM is in lockout after too many wrong authValues (TPM_RC_LOCKOUT, 0x921)'],
  [0x98e, 'session 1: the authorisation failed, and the try was counted (TPM_RC_AUTH_FAIL, 0x98e)'],
  [0x9a2, 'session 1: the authorisation failed, and the try is not counted (TPM_RC_BAD_AUTH, 0x9a2)'],
  [0x095, 'the structure is of a wrong size (TPM_RC_SIZE, 0x95)'],
  [0x1bf, 'handle 1: a reason that is not known (TPM_RC_unknown, 0x1bf)'],
  [0x17f, 'a reason that is not known (TPM_RC_unknown, 0x17f)'],
  // The kernel's resource manager adds its layer.
  [0xb0143, 'the command is not supported (TPM_RC_COMMAND_CODE, 0xb0143)'],
])('%d', (code, words) => {
  expect(explain(code)).toBe(words);
});

describe('what is compared', () => {
  const at = (code: number): TpmError => new TpmError(CC.Sign, code);

  test('is the reason, wherever it lies', () => {
    for (const code of [0x98e, 0xa8e, 0x18e, 0x08e]) expect(isResponse(at(code), RC.AUTH_FAIL)).toBe(true);
    for (const code of [0x1c4, 0x2c4, 0x184]) expect(isResponse(at(code), RC.VALUE)).toBe(true);
    expect(isResponse(at(0xb0922), RC.RETRY)).toBe(true);
    expect(isResponse(at(0x98e), RC.BAD_AUTH)).toBe(false);
    expect(isResponse(new Error('0x98e'), RC.AUTH_FAIL)).toBe(false);
  });

  test('what was loaded is gone after a reset', () => {
    for (const code of [0x100, 0x910, 0x912, 0x916, 0x918, 0x91e])
      expect([code, isGone(at(code))]).toEqual([code, true]);
    for (const code of [0x101, 0x90f, 0x921, 0x922, 0x98e, 0x18b])
      expect([code, isGone(at(code))]).toEqual([code, false]);
  });

  test('the error names the command', () => {
    expect(at(0x9a2)).toMatchObject({
      code: 'ERR_TOKEN_FAILED',
      message: expect.stringMatching(/^the TPM refused TPM2_Sign: /),
    });
    expect(new TpmError(0x1ff, 0x101).message).toMatch(/TPM2_0x1ff/);
  });
});
