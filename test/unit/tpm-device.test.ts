import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, describe, expect, test } from '@jest/globals';
import { readAddress } from '../../src/stores/tpm/address.ts';
import { deviceConnection, pathDevice } from '../../src/stores/tpm/char-device.ts';
import { deviceOf } from '../../src/stores/tpm/device.ts';
import { connectionOver, MSSIM, whenFree } from '../../src/stores/tpm/socket.ts';
import type { Connection } from '../../src/stores/tpm/transport.ts';
import { parseKeyUri } from '../../src/uri.ts';
import { thrownBy } from '../helpers/thrown.ts';

const dir = mkdtempSync(join(tmpdir(), 'holdfast-tpm-device-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe('which TPM', () => {
  test.each([
    ['tpm:', {}, 'TPM at /dev/tpmrm0', true],
    ['tpm:?device=/dev/tpm0', {}, 'TPM at /dev/tpm0', false],
    ['tpm:?device=/dev/tpmrm1', { TPM_DEVICE: '/dev/other' }, 'TPM at /dev/tpmrm1', true],
    ['tpm:?tcp=127.0.0.1:2321', {}, 'TPM at 127.0.0.1:2321', false],
    ['tpm:?tcp=[::1]:2321', {}, 'TPM at [::1]:2321', false],
    ['tpm:?mssim=localhost:2321', {}, 'TPM at localhost:2321', false],
    ['tpm:', { TPM_DEVICE: '/run/tpm.sock', TPM2TOOLS_TCTI: 'device:/dev/tpm0' }, 'TPM at /run/tpm.sock', false],
    ['tpm:', { TPM2TOOLS_TCTI: 'device:/dev/tpm0' }, 'TPM at /dev/tpm0', false],
    ['tpm:', { TPM2TOOLS_TCTI: 'device' }, 'TPM at /dev/tpmrm0', true],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:host=10.0.0.1,port=99' }, 'TPM at 10.0.0.1:99', false],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm' }, 'TPM at 127.0.0.1:2321', false],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:path=/run/s' }, 'TPM at /run/s', false],
    ['tpm:', { TPM2TOOLS_TCTI: 'libtss2-tcti-mssim.so.0:port=5' }, 'TPM at 127.0.0.1:5', false],
    ['handle:0x81010001', {}, 'TPM at /dev/tpmrm0', true],
  ])('%s with %j', (uri, env, name, managed) => {
    expect(deviceOf(parseKeyUri(uri), env)).toMatchObject({ name, managed });
  });

  test.each([
    ['tpm:?device=/dev/a%00b%1B', {}],
    ['tpm:', { TPM_DEVICE: '/dev/a\u0000b\u001b' }],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:path=/a\u0000b\u001b' }],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:host=a\u0000b\u001b' }],
  ])('%j with %j: a name that can be shown', (uri, env) => {
    expect(deviceOf(parseKeyUri(uri), env).name).toMatch(/^TPM at [\x20-\x7e\ufffd]+$/);
  });

  test.each([
    ['tpm:?tcp=127.0.0.1', {}, 'ERR_URI_INVALID'],
    ['tpm:?tcp=127.0.0.1:0', {}, 'ERR_URI_INVALID'],
    ['tpm:?tcp=::1:70', {}, 'ERR_URI_INVALID'],
    ['tpm:?tcp=a:70000', {}, 'ERR_URI_INVALID'],
    ['tpm:?tcp=a:1&device=/dev/tpm0', {}, 'ERR_URI_INVALID'],
    ['tpm:', { TPM2TOOLS_TCTI: 'tabrmd:bus_type=session' }, 'ERR_OPTION_INVALID'],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:port=abc' }, 'ERR_OPTION_INVALID'],
    ['tpm:', { TPM2TOOLS_TCTI: 'mssim:port=' }, 'ERR_OPTION_INVALID'],
    ['tpm:', { TPM2TOOLS_TCTI: 'swtpm:host=a,port=65536' }, 'ERR_OPTION_INVALID'],
  ])('%s with %j is refused', (uri, env, code) => {
    expect(thrownBy(() => deviceOf(parseKeyUri(uri), env))).toMatchObject({ code });
  });
});

describe('which key', () => {
  test.each([
    ['tpm:handle=0x81010001', { handle: 0x81010001, file: undefined, plain: false }],
    ['tpm:handle=81010001?session=password', { handle: 0x81010001, plain: true }],
    ['handle:0x81010001', { handle: 0x81010001 }],
    ['HANDLE:81ffffff', { handle: 0x81ffffff }],
    ['tpm:file=/etc/aws/key.tpm', { handle: undefined, file: '/etc/aws/key.tpm' }],
    ['tpm:file=%2Fetc%2Fa%3Bb', { file: '/etc/a;b' }],
  ])('%s', (uri, expected) => {
    expect(readAddress(parseKeyUri(uri), {})).toMatchObject(expected);
  });

  test.each([
    ['tpm:handle=0x80000001', /persistent/],
    ['tpm:handle=0x1', /persistent/],
    ['tpm:handle=0x181010001', /persistent/],
    ['tpm:handle=x', /persistent/],
    ['handle:0x01400001', /persistent/],
    ['tpm:handle=0x81010001;file=a', /handle and a file/],
    ['tpm:file=', /empty/],
    ['tpm:file=a;parent=owner', /no attribute "parent"/],
    ['tpm:file=a?session=plain', /"session"/],
    ['tpm:file=a?pcr=sha256', /"pcr"/],
    ['tpm:file=a?pcr=md5:1', /"pcr"/],
    ['tpm:file=a?pcr=sha256:24', /"pcr"/],
    ['tpm:file=a?pin-value=x&pin-source=/x', /pin-value and a pin-source/],
    ['tpm:file=a?parent-pin-value=x&parent-pin-source=/x', /pin-value and a pin-source/],
    ['tpm:file=a?owner-pin-value=x&owner-pin-source=/x', /pin-value and a pin-source/],
    ['handle:0x81010001;file=a', /handle/],
  ])('%s is refused', (uri, message) => {
    const error = thrownBy(() => readAddress(parseKeyUri(uri), {}));
    expect(error).toMatchObject({ code: 'ERR_URI_INVALID', message: expect.stringMatching(message) });
  });

  test('prints no secret', () => {
    const uri = parseKeyUri(
      'tpm:file=/a?pin-value=S3cr3t&parent-pin-value=S3cr3t&owner-pin-value=S3cr3t&device=/dev/tpmrm0',
    );
    expect(String(uri)).toBe('tpm:file=/a?pin-value=***&parent-pin-value=***&owner-pin-value=***&device=/dev/tpmrm0');
  });
});

const command = Buffer.from('80010000000c0000017b0008', 'hex');

(process.platform === 'linux' ? describe : describe.skip)('a character device', () => {
  const signal = new AbortController().signal;
  const fifo = join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // A FIFO that one process both reads and writes gives back what it got: here, a command for a response.
  const connected = async (): Promise<Connection> => deviceConnection(await open(fifo, 'r+'), 'TPM at a FIFO');

  test('takes a command in one piece, and gives back a whole response', async () => {
    const connection = await connected();
    expect((await connection.send(command)).toString('hex')).toBe(command.toString('hex'));
    expect((await connection.send(command)).toString('hex')).toBe(command.toString('hex'));
    connection.close();
    connection.close();
    await expect(connection.send(command)).rejects.toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });

  test('that is silent: who hangs up waits no longer', async () => {
    const connection = await connected();
    const rest = await open(fifo, 'r+');
    // It says that it is longer than what comes.
    const sending = connection.send(Buffer.from('800100000010000000000008', 'hex'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    connection.close();
    await expect(sending).rejects.toMatchObject({ code: 'ERR_TOKEN_FAILED' });
    await rest.write(Buffer.alloc(4));
    await rest.close();
  });

  test('is opened by its path', async () => {
    const connection = await pathDevice('/dev/null').connect(signal);
    await expect(connection.send(command)).rejects.toMatchObject({ message: expect.stringContaining('said nothing') });
    connection.close();
  });

  test('and nothing else is written to', async () => {
    const file = join(dir, 'precious.pem');
    writeFileSync(file, 'precious');
    symlinkSync(file, join(dir, 'tpmrm0'));
    for (const path of [file, join(dir, 'tpmrm0'), fifo, dir]) {
      await expect(pathDevice(path).connect(signal)).rejects.toMatchObject({
        code: 'ERR_TOKEN_NOT_FOUND',
        message: `there is no TPM at ${path}: that is no character device and no socket`,
        hint: expect.stringContaining('/dev/tpmrm0'),
      });
    }
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  test('that is not there', async () => {
    const connecting = pathDevice('/dev/tpmrm77').connect(signal);
    await expect(connecting).rejects.toMatchObject({
      code: 'ERR_TOKEN_NOT_FOUND',
      message: 'there is no TPM at /dev/tpmrm77 (ENOENT)',
    });
  });
});

describe('a TPM that another program has', () => {
  const busy = (): Error => Object.assign(new Error('busy'), { code: 'EBUSY' });

  test('is waited for', async () => {
    let tries = 0;
    const open = async (): Promise<string> => {
      tries += 1;
      if (tries < 4) throw busy();
      return 'open';
    };
    expect(await whenFree('TPM at x', new AbortController().signal, open)).toBe('open');
    expect(tries).toBe(4);
  });

  test('until nobody waits any more', async () => {
    const controller = new AbortController();
    const open = async (): Promise<never> => {
      controller.abort(new Error('enough'));
      throw busy();
    };
    await expect(whenFree('TPM at x', controller.signal, open)).rejects.toThrow('enough');
  });

  test.each([
    ['EACCES', 'ERR_TOKEN_FAILED', /cannot be opened/, /group "tss"/],
    ['ENODEV', 'ERR_TOKEN_NOT_FOUND', /there is no/, /firmware/],
  ])('%s is not waited for', async (code, expected, message, hint) => {
    const open = async (): Promise<never> => {
      throw Object.assign(new Error('no'), { code });
    };
    const opening = whenFree('TPM at x', new AbortController().signal, open);
    await expect(opening).rejects.toMatchObject({
      code: expected,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
  });
});

describe('a stream', () => {
  const answerTo = async (framing: typeof MSSIM | undefined, ...pieces: string[]): Promise<Buffer> => {
    const stream = new PassThrough();
    const written: Buffer[] = [];
    stream.write = ((bytes: Buffer) => written.push(bytes) > 0) as never;
    const connection = connectionOver(stream, 'TPM', framing);
    const answer = connection.send(command);
    for (const piece of pieces) stream.emit('data', Buffer.from(piece, 'hex'));
    return answer;
  };

  test('in pieces', async () => {
    const answer = await answerTo(undefined, '8001', '0000000c0000', '00000008');
    expect(answer.toString('hex')).toBe('80010000000c000000000008');
    const framed = await answerTo(MSSIM, '0000000a', '80010000000a00000000', '00000000');
    expect(framed.toString('hex')).toBe('80010000000a00000000');
  });

  test('what was framed is wiped once it is written', async () => {
    const stream = new PassThrough();
    let copy: Uint8Array | undefined;
    stream.write = ((bytes: Buffer, written?: () => void) => {
      copy = bytes;
      written?.();
      return true;
    }) as never;
    const sent = Buffer.from(command);
    const connection = connectionOver(stream, 'TPM', MSSIM);
    const sending = connection.send(sent);
    expect(copy?.some((octet) => octet !== 0)).toBe(false);
    expect(sent.equals(command)).toBe(true);
    connection.close();
    await expect(sending).rejects.toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });

  test.each([
    ['more than one answer', undefined, ['80010000000a0000000080010000000a00000000']],
    ['a size below that of a header', undefined, ['80010000000900000000']],
    ['a size beyond all bounds', undefined, ['8001ffffffff00000000']],
    ['a size beyond all bounds, framed', MSSIM, ['7fffffff']],
  ])('%s: refused', async (_, framing, pieces) => {
    await expect(answerTo(framing, ...pieces)).rejects.toMatchObject({ code: 'ERR_TOKEN_FAILED' });
  });

  test('that speaks unasked is not spoken to', async () => {
    const stream = new PassThrough();
    const connection = connectionOver(stream, 'TPM');
    stream.emit('data', Buffer.from('80010000000a00000000', 'hex'));
    await expect(connection.send(command)).rejects.toMatchObject({ message: expect.stringContaining('unasked') });
  });
});
