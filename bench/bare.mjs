// The least that can buy a session: sign with the key, post with node:https, print. What holdfast is compared with.
// Certificate, ARNs and the canonical request are the same; nothing is checked, nothing is verified.
import { createHash, createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';

const { endpoint, certificate, key, pkcs11, ...arns } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const sha256 = (data) => createHash('sha256').update(data).digest();
const leaf = new X509Certificate(readFileSync(certificate));
const url = new URL('/sessions', endpoint);
const body = JSON.stringify({ durationSeconds: 3600, ...arns });
const date = new Date().toISOString().replace(/[:-]|\.\d{3}/g, '');
const region = arns.trustAnchorArn.split(':')[3];
const headers = {
  'content-type': 'application/json',
  host: url.host,
  'x-amz-date': date,
  'x-amz-x509': leaf.raw.toString('base64'),
};
const names = Object.keys(headers);
const canonical = [
  'POST',
  '/sessions',
  '',
  ...names.map((name) => `${name}:${headers[name]}`),
  '',
  names.join(';'),
  sha256(body).toString('hex'),
];
const scope = `${date.slice(0, 8)}/${region}/rolesanywhere/aws4_request`;
const message = ['AWS4-X509-ECDSA-SHA256', date, scope, sha256(canonical.join('\n')).toString('hex')].join('\n');

async function signOnToken({ module, pin, label, object }) {
  const { default: pkcs11js } = await import('pkcs11js');
  const token = new pkcs11js.PKCS11();
  token.load(module);
  token.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  const slot = token.C_GetSlotList(true).find((one) => token.C_GetTokenInfo(one).label.trim() === label);
  const session = token.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
  token.C_Login(session, pkcs11js.CKU_USER, pin);
  token.C_FindObjectsInit(session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: object },
  ]);
  const [handle] = token.C_FindObjects(session, 1);
  token.C_FindObjectsFinal(session);
  token.C_SignInit(session, { mechanism: pkcs11js.CKM_ECDSA }, handle);
  const raw = token.C_Sign(session, sha256(message), Buffer.alloc(64));
  token.C_Finalize();
  const integer = (octets) => {
    const digits = octets.subarray(octets.findIndex((octet) => octet !== 0));
    const value = digits[0] >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
    return Buffer.concat([Buffer.of(2, value.length), value]);
  };
  const pair = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
  return Buffer.concat([Buffer.of(0x30, pair.length), pair]);
}

const signature = pkcs11
  ? await signOnToken(pkcs11)
  : sign('sha256', Buffer.from(message), createPrivateKey(readFileSync(key)));
const serial = BigInt(`0x${leaf.serialNumber}`);
headers.authorization = `AWS4-X509-ECDSA-SHA256 Credential=${serial}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature.toString('hex')}`;
const call = request(url, { method: 'POST', headers, agent: false });
call.end(body);
const [response] = await once(call, 'response');
let text = '';
for await (const chunk of response) text += chunk;
if (response.statusCode !== 201) throw new Error(text);
const { accessKeyId, secretAccessKey, sessionToken, expiration } = JSON.parse(text).credentialSet[0].credentials;
process.stdout.write(
  JSON.stringify({
    Version: 1,
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    SessionToken: sessionToken,
    Expiration: expiration,
  }),
);
