import { verify } from 'node:crypto';
import { describe, expect, jest, test } from '@jest/globals';
import { HoldfastError } from '../../src/errors.ts';
import { sized, u8, u16, u32 } from '../../src/stores/tpm/bytes.ts';
import { load } from '../../src/stores/tpm/commands.ts';
import { CC, OBJECT, RH, ST } from '../../src/stores/tpm/constants.ts';
import { type Tpm, tpmOver } from '../../src/stores/tpm/execute.ts';
import { digest, hmac } from '../../src/stores/tpm/hashes.ts';
import { keyObjectOf, nameOfArea, readPublicArea } from '../../src/stores/tpm/public-area.ts';
import { TpmError } from '../../src/stores/tpm/response-codes.ts';
import { NO_AUTH, throwAwayStorage } from '../../src/stores/tpm/storage.ts';
import { ECC_STORAGE } from '../../src/stores/tpm/templates.ts';
import { EXCHANGES, type Exchange, replay, sessionOf, tpmOf } from '../helpers/tpm-exchange.ts';

const byName = (name: string): Exchange => EXCHANGES.find((one) => one.name === name) as Exchange;
const proven = EXCHANGES.filter(({ nonceCaller }) => nonceCaller !== undefined);

/** @returns what the exchange comes to with this response; the error it is refused with */
async function outcome(exchange: Exchange, response: Buffer): Promise<unknown> {
  const tpm = tpmOf(exchange, { send: async () => Buffer.from(response) });
  return replay(exchange, tpm).catch((error: unknown) => error);
}

describe.each(EXCHANGES.map((exchange) => [exchange.name, exchange] as const))('%s', (_, exchange) => {
  test('our side is what it was, byte by byte', async () => {
    const sent: string[] = [];
    const tpm = tpmOf(exchange, {
      send: async (command) => {
        sent.push(Buffer.from(command).toString('hex'));
        return Buffer.from(exchange.response, 'hex');
      },
    });
    await replay(exchange, tpm);
    expect(sent).toEqual([exchange.command]);
  });

  test('an answer that is cut off, or goes on, is refused', async () => {
    const response = Buffer.from(exchange.response, 'hex');
    for (let length = 0; length < response.length; length += 1) {
      const cut = Buffer.from(response.subarray(0, length));
      if (length >= 6) cut.writeUInt32BE(length, 2);
      expect(await outcome(exchange, cut)).toMatchObject({ code: 'ERR_TOKEN_FAILED' });
    }
    const longer = Buffer.concat([response, Buffer.of(0)]);
    longer.writeUInt32BE(longer.length, 2);
    expect(await outcome(exchange, longer)).toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });
});

describe('what a session proves', () => {
  test.each(proven.map((exchange) => [exchange.name, exchange] as const))(
    '%s: an answer with any bit flipped is refused',
    async (_, exchange) => {
      const response = Buffer.from(exchange.response, 'hex');
      let refused = 0;
      for (let bit = 0; bit < response.length * 8; bit += 1) {
        const flipped = Buffer.from(response);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        const result = await outcome(exchange, flipped);
        const isHandle = exchange.name === 'TPM2_Load' && bit >= 80 && bit < 112;
        // The handle is not covered (Part 1 §16.7): the next command proves the key's Name. It must be a handle all the same.
        if (isHandle && !(result instanceof HoldfastError)) continue;
        expect([bit, result]).toEqual([bit, expect.objectContaining({ code: 'ERR_TOKEN_FAILED' })]);
        refused += 1;
      }
      expect(refused).toBeGreaterThan(response.length * 8 - 32);
    },
  );

  test.each(proven.map((exchange) => [exchange.name, exchange] as const))(
    '%s: a success without its authorisation area is refused',
    async (_, exchange) => {
      const response = Buffer.from(exchange.response, 'hex');
      const head = exchange.name === 'TPM2_Load' ? 14 : 10;
      const parameters = response.subarray(head + 4, head + 4 + response.readUInt32BE(head));
      const bare = Buffer.concat([response.subarray(0, head), parameters]);
      bare.writeUInt16BE(0x8001, 0);
      bare.writeUInt32BE(bare.length, 2);
      expect(await outcome(exchange, bare)).toMatchObject({
        code: 'ERR_TOKEN_FAILED',
        message: expect.stringContaining('without the authorisation'),
      });
    },
  );

  test('an answer of before, sent again, is refused', async () => {
    const exchange = byName('TPM2_Sign');
    const session = sessionOf(exchange);
    const tpm = tpmOf(exchange, { send: async () => Buffer.from(exchange.response, 'hex') });
    await replay(exchange, tpm, session);
    // The same nonce of ours once more; the TPM's is another by now.
    const other = { ...exchange, nonceCaller: '00'.repeat(32) };
    const again = tpmOf(other, { send: async () => Buffer.from(exchange.response, 'hex') });
    await expect(replay(exchange, again, session)).rejects.toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });

  test('an answer with other attributes than the command is refused, though its HMAC is right', async () => {
    const exchange = byName('TPM2_Sign');
    const response = Buffer.from(exchange.response, 'hex');
    const end = 14 + response.readUInt32BE(10);
    const at = end + 2 + response.readUInt16BE(end);
    const { hash, key } = sessionOf(exchange);
    const whole = Buffer.concat([key, Buffer.from(exchange.authValue as string, 'hex')]);
    const nonces = [response.subarray(end + 2, at), Buffer.from(exchange.nonceCaller as string, 'hex')];
    const rpHash = digest(hash, u32(0), u32(CC.Sign), response.subarray(14, end));
    const sent = response.readUInt8(at);
    const saying = (attributes: number): Buffer => {
      const proof = hmac(hash, whole, rpHash, ...nonces, u8(attributes));
      return Buffer.concat([response.subarray(0, at), u8(attributes), sized(proof)]);
    };
    expect(saying(sent)).toEqual(response);
    for (let bit = 0; bit < 8; bit += 1) {
      expect(await outcome(exchange, saying(sent ^ (1 << bit)))).toMatchObject({
        code: 'ERR_TOKEN_FAILED',
        message: expect.stringContaining('HMAC'),
      });
    }
  });

  test('the signature in it is good', async () => {
    const exchange = byName('TPM2_Sign');
    const signature = (await outcome(exchange, Buffer.from(exchange.response, 'hex'))) as Buffer;
    const key = keyObjectOf(readPublicArea(Buffer.from(exchange.area as string, 'hex')));
    expect(verify('sha256', Buffer.from('message'), key, signature)).toBe(true);
  });

  test('no authValue crosses, but for a new one that is encrypted', () => {
    for (const { command, authValue } of EXCHANGES) if (authValue) expect(command).not.toContain(authValue);
  });
});

describe('what a TPM says of a key without a session that proves it', () => {
  /** A success that a password session authorised. */
  function success(...parameters: Buffer[]): Buffer {
    const said = Buffer.concat(parameters);
    const body = Buffer.concat([u32(0), u32(0x80000000), u32(said.length), said, sized(), u8(1), sized()]);
    return Buffer.concat([u16(ST.SESSIONS), u32(body.length + 6), body]);
  }
  const saying = (response: Buffer): Tpm => tpmOf(byName('TPM2_Load'), { send: async () => Buffer.from(response) });
  const flipped = (bytes: Buffer): Buffer =>
    Buffer.concat([bytes.subarray(0, -1), u8(bytes.readUInt8(bytes.length - 1) ^ 1)]);
  const otherName = { code: 'ERR_TOKEN_FAILED', message: expect.stringContaining('the name of a key') };

  test('TPM2_ReadPublic: another Name than that of the public area is refused', async () => {
    const exchange = byName('TPM2_ReadPublic');
    const response = Buffer.from(exchange.response, 'hex');
    const name = 12 + response.readUInt16BE(10) + 2;
    // The algorithm, a bit of the digest, a bit of the public area itself.
    for (const at of [name + 1, name + 33, name - 3]) {
      const changed = Buffer.concat([flipped(response.subarray(0, at + 1)), response.subarray(at + 1)]);
      expect(await outcome(exchange, changed)).toMatchObject(otherName);
    }
  });

  test('TPM2_Load: a key of another Name than that of the public area is refused', async () => {
    const { area, parent } = byName('TPM2_Load');
    const key = { area: readPublicArea(Buffer.from(area as string, 'hex')), privateBytes: Buffer.alloc(8) };
    const name = nameOfArea(key.area);
    const loading = (said: Buffer): Promise<unknown> =>
      load(saying(success(sized(said))), { handle: parent?.handle ?? 0 }, key, { authValue: NO_AUTH });
    expect(await loading(name)).toMatchObject({ name });
    for (const said of [flipped(name), Buffer.alloc(0)]) await expect(loading(said)).rejects.toMatchObject(otherName);
  });

  describe('TPM2_CreatePrimary', () => {
    const storage = (attributes = 0): Buffer => {
      const area = Buffer.concat([
        ECC_STORAGE.bytes.subarray(0, -4),
        sized(Buffer.alloc(32, 1)),
        sized(Buffer.alloc(32, 2)),
      ]);
      area.writeUInt32BE(area.readUInt32BE(4) ^ attributes, 4);
      return area;
    };
    const made = (area: Buffer, name = nameOfArea(readPublicArea(area))): Promise<unknown> => {
      const creation = [sized(), sized(), u16(0x8021), u32(RH.NULL), sized()];
      return throwAwayStorage(saying(success(sized(area), ...creation, sized(name))));
    };

    test('a storage key that is what the template asks for is taken', async () => {
      expect(await made(storage())).toMatchObject({ handle: 0x80000000, area: { bytes: storage() } });
    });

    test('another Name is refused', async () => {
      const area = storage();
      await expect(made(area, flipped(nameOfArea(readPublicArea(area))))).rejects.toMatchObject(otherName);
    });

    test.each(['fixedTPM', 'restricted', 'userWithAuth', 'noDA'] as const)(
      'one that differs from the template in %s is refused, though its Name fits',
      async (attribute) => {
        await expect(made(storage(OBJECT[attribute]))).rejects.toMatchObject({
          code: 'ERR_TOKEN_FAILED',
          message: expect.stringContaining('the storage key is not what was asked for'),
        });
      },
    );
  });
});

describe('answers that say: not now', () => {
  const exchange = byName('TPM2_GetCapability');
  const code = (value: number): Buffer => {
    const response = Buffer.from('80010000000a00000000', 'hex');
    response.writeUInt32BE(value, 6);
    return response;
  };

  test.each([
    ['TPM_RC_RETRY', 0x922],
    ['TPM_RC_YIELDED', 0x908],
    ['TPM_RC_TESTING', 0x90a],
    ['TPM_RC_NV_RATE', 0x920],
  ])('%s: the same command is sent again', async (_, value) => {
    const sent: string[] = [];
    const tpm = tpmOf(exchange, {
      send: async (command) => {
        sent.push(Buffer.from(command).toString('hex'));
        return sent.length < 4 ? code(value) : Buffer.from(exchange.response, 'hex');
      },
    });
    await replay(exchange, tpm);
    expect(sent).toEqual(Array.from({ length: 4 }, () => exchange.command));
  });

  test('until nobody waits any more', async () => {
    const controller = new AbortController();
    let sent = 0;
    const tpm = tpmOver(
      {
        send: async () => {
          sent += 1;
          if (sent === 3) controller.abort(new Error('enough'));
          return code(0x922);
        },
      },
      () => controller.signal,
    );
    await expect(replay(exchange, tpm)).rejects.toThrow('enough');
    expect(sent).toBe(3);
  });

  test('but not for ever', async () => {
    let minutes = 0;
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => {
      minutes += 0.4;
      return minutes * 60_000;
    });
    try {
      const tpm = tpmOf(exchange, { send: async () => code(0x922) });
      await expect(replay(exchange, tpm)).rejects.toMatchObject({ responseCode: 0x922 });
      expect(minutes).toBeLessThan(3);
    } finally {
      clock.mockRestore();
    }
  });

  test('anything else is thrown at once', async () => {
    const tpm = tpmOf(exchange, { send: async () => code(0x101) });
    const error = await replay(exchange, tpm).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TpmError);
    expect(error).toMatchObject({
      code: 'ERR_TOKEN_FAILED',
      responseCode: 0x101,
      message: 'the TPM refused TPM2_GetCapability: the TPM is in failure mode (TPM_RC_FAILURE, 0x101)',
    });
  });
});
