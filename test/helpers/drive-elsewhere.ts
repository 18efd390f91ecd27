import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { TestToken } from './softhsm.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Work on a token in another process, with the driver alone: `code` has `driver`, `session` and `find(type, value)`. */
export function driveElsewhere({ modulePath, tokenLabel, pin, env }: TestToken, code: string): void {
  const program = `import { readFileSync } from 'node:fs';
    import pkcs11js from 'pkcs11js';
    const driver = new pkcs11js.PKCS11();
    driver.load(${JSON.stringify(modulePath)});
    driver.C_Initialize();
    const isMeant = (slot) => driver.C_GetTokenInfo(slot).label.trim() === ${JSON.stringify(tokenLabel)};
    const session = driver.C_OpenSession(driver.C_GetSlotList(true).find(isMeant), 6);
    driver.C_Login(session, 1, readFileSync(0, 'utf8'));
    const find = (type, value) => {
      driver.C_FindObjectsInit(session, [{ type, value }]);
      const found = driver.C_FindObjects(session, 10);
      driver.C_FindObjectsFinal(session);
      return found;
    };
    ${code}
    driver.C_Finalize();`;
  execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
    env: { ...process.env, ...env },
    input: pin,
  });
}
