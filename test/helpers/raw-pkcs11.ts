import pkcs11js, { type Attribute, type PKCS11 } from 'pkcs11js';
import type { TestToken } from './softhsm.ts';

/** Somebody else in this process who uses the module, without holdfast. */
export interface RawPkcs11 {
  readonly pkcs11: PKCS11;
  /** A read-write PKCS#11 session on the token, logged in as the user. */
  readonly session: Buffer;
  /** Whether the module is initialised in this process, by whomever. */
  initialised(): boolean;
  find(template: Attribute[]): Buffer[];
  /** Ends this session; does not finalise. */
  close(): void;
  /** For whoever initialised the module. */
  finalise(): void;
}

/** The token to use, and what its module needs of C_Initialize. */
export type RawTarget = Pick<TestToken, 'modulePath' | 'tokenLabel' | 'pin'> & { readonly initReserved?: string };

/** Uses the module as it is when somebody initialised it already, and initialises it otherwise. */
export function rawPkcs11(token: RawTarget): RawPkcs11 {
  const pkcs11 = new pkcs11js.PKCS11();
  pkcs11.load(token.modulePath);
  const tolerate = (code: number, call: () => void): void => {
    try {
      call();
    } catch (error) {
      if ((error as { code?: unknown }).code !== code) throw error;
    }
  };
  // pkcs11js drops the last character of the parameters.
  const reserved = token.initReserved === undefined ? {} : { libraryParameters: `${token.initReserved} ` };
  tolerate(pkcs11js.CKR_CRYPTOKI_ALREADY_INITIALIZED, () =>
    pkcs11.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK, ...reserved }),
  );
  const slot = pkcs11
    .C_GetSlotList(true)
    .find((one) => pkcs11.C_GetTokenInfo(one).label.trimEnd() === token.tokenLabel) as Buffer;
  const session = pkcs11.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  tolerate(pkcs11js.CKR_USER_ALREADY_LOGGED_IN, () => pkcs11.C_Login(session, pkcs11js.CKU_USER, token.pin));
  return {
    pkcs11,
    session,
    initialised() {
      let initialised = true;
      tolerate(pkcs11js.CKR_CRYPTOKI_NOT_INITIALIZED, () => {
        initialised = false;
        pkcs11.C_GetInfo();
        initialised = true;
      });
      return initialised;
    },
    find(template) {
      pkcs11.C_FindObjectsInit(session, template);
      const found = pkcs11.C_FindObjects(session, 1000);
      pkcs11.C_FindObjectsFinal(session);
      return found;
    },
    close: () => pkcs11.C_CloseSession(session),
    finalise: () => pkcs11.C_Finalize(),
  };
}

/** Work on the token without holdfast, while nobody else uses the module. */
export function withRaw<T>(token: RawTarget, use: (raw: RawPkcs11) => T): T {
  const other = rawPkcs11(token);
  try {
    return use(other);
  } finally {
    other.close();
    other.finalise();
  }
}

export function destroyObjects(token: TestToken, template: Attribute[]): void {
  withRaw(token, (one) => {
    for (const object of one.find(template)) one.pkcs11.C_DestroyObject(one.session, object);
  });
}

export function putRawCertificate(token: TestToken, value: Uint8Array, id: string, label: string): void {
  withRaw(token, ({ pkcs11, session }) =>
    pkcs11.C_CreateObject(session, [
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE },
      { type: pkcs11js.CKA_CERTIFICATE_TYPE, value: 0 },
      { type: pkcs11js.CKA_TOKEN, value: true },
      { type: pkcs11js.CKA_PRIVATE, value: false },
      { type: pkcs11js.CKA_SUBJECT, value: Buffer.from('3000', 'hex') },
      { type: pkcs11js.CKA_VALUE, value: Buffer.from(value) },
      { type: pkcs11js.CKA_ID, value: Buffer.from(id) },
      { type: pkcs11js.CKA_LABEL, value: label },
    ]),
  );
}
