// node --expose-gc pkcs11-cycles.mjs ours|bare CYCLES MODULE PIN-FILE: open, sign and close one key so many times, in place.
// Prints a sample of what the process holds after a quarter of the cycles, and another at the end.
import { readdirSync, readFileSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { openKey } from '../../dist/index.js';

const [kind, count, modulePath, pinFile] = process.argv.slice(2);
const cycles = Number(count);
const message = Buffer.from('message');
const driver = new pkcs11js.PKCS11();
driver.load(modulePath);

const isToken = (slot) => driver.C_GetTokenInfo(slot).label.trim() === 'cycles';

/** PKCS#11 sessions that were opened and not closed: SoftHSM does not tell (`sessionCount`). */
let sessions = 0;
function watch(name, change) {
  const { prototype } = pkcs11js.PKCS11;
  const original = prototype[name]; // inherited
  prototype[name] = function (...args) {
    const result = Reflect.apply(original, this, args);
    sessions += change;
    return result;
  };
}
watch('C_OpenSession', 1);
watch('C_CloseSession', -1);

async function ours() {
  const key = await openKey(`pkcs11:token=cycles;object=key?module-path=${modulePath}&pin-source=file:${pinFile}`, {
    isolation: 'in-place',
  });
  await key.sign(message);
  await key.close();
}

const pin = readFileSync(pinFile, 'utf8');
const digest = Buffer.alloc(32, 1);
async function bare() {
  driver.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  const slot = driver.C_GetSlotList(true).find(isToken);
  const session = driver.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
  driver.C_Login(session, pkcs11js.CKU_USER, pin);
  driver.C_FindObjectsInit(session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: 'key' },
  ]);
  const [key] = driver.C_FindObjects(session, 1);
  driver.C_FindObjectsFinal(session);
  driver.C_SignInit(session, { mechanism: pkcs11js.CKM_ECDSA }, key);
  await driver.C_SignAsync(session, digest, Buffer.alloc(64));
  driver.C_CloseSession(session);
  driver.C_Finalize();
}

const cycle = kind === 'ours' ? ours : bare;
const sample = () => {
  globalThis.gc();
  const descriptors = readdirSync('/proc/self/fd').length;
  return { sessions, descriptors, rss: process.memoryUsage.rss(), handles: process.getActiveResourcesInfo().length };
};

const samples = [];
for (let done = 1; done <= cycles; done += 1) {
  await cycle();
  if (done === cycles / 4 || done === cycles) samples.push(sample());
}
process.stdout.write(JSON.stringify(samples));
