import { constants, createECDH, type ECDH, publicEncrypt } from 'node:crypto';
import { damaged, sized } from './bytes.ts';
import type { Salt, TpmObject } from './commands.ts';
import { type Hash, hashOf, kdfe } from './hashes.ts';
import { coordinates, type EccPublic, keyObjectOf, type RsaPublic } from './public-area.ts';

const SECRET = 'SECRET';

/**
 * A salt that only the holder of a decryption key learns (TPM 2.0 Part 1 §B.10.2, §C.6.1). Who sees the bus then neither
 * finds an authValue by trying, nor can read what is encrypted.
 */
export function makeSalt(
  key: TpmObject,
  random: (size: number) => Buffer,
  ephemeral: (curve: string) => ECDH = newKey,
): Salt {
  const hash = hashOf(key.area.nameAlg);
  if (!hash) throw damaged('a storage key is named with a hash that is not known');
  return key.area.type === 'ECC'
    ? eccSalt(key, key.area, hash, ephemeral(key.area.curve.openssl))
    : rsaSalt(key, key.area, hash, random(hash.size));
}

function newKey(curve: string): ECDH {
  const key = createECDH(curve);
  key.generateKeys();
  return key;
}

/** One-pass Diffie-Hellman with a key of our own for this once. */
function eccSalt(key: TpmObject, area: EccPublic, hash: Hash, ours: ECDH): Salt {
  const { x, y } = coordinates(area);
  const { size } = area.curve;
  const point = ours.getPublicKey();
  const [ourX, ourY] = [point.subarray(1, 1 + size), point.subarray(1 + size)];
  let shared: Buffer;
  try {
    shared = ours.computeSecret(Buffer.concat([Buffer.of(4), x, y]));
  } catch (cause) {
    throw damaged('the storage key is no point of its curve', cause);
  }
  const bytes = kdfe(hash, shared, SECRET, ourX, x, hash.size * 8);
  shared.fill(0);
  return { key, bytes, encrypted: Buffer.concat([sized(ourX), sized(ourY)]) };
}

function rsaSalt(key: TpmObject, area: RsaPublic, hash: Hash, bytes: Buffer): Salt {
  const options = {
    key: keyObjectOf(area),
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: hash.node,
    oaepLabel: Buffer.from(`${SECRET}\0`, 'latin1'),
  };
  try {
    return { key, bytes, encrypted: publicEncrypt(options, bytes) };
  } catch (cause) {
    throw damaged('the storage key is no RSA key', cause);
  }
}
