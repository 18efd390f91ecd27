import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as pkcs11 from '../../src/stores/pkcs11/index.ts';
import type { KeyStore } from '../../src/stores/store.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The built program of the child: what is tested runs from src/, where there is none. */
export const CHILD: string = resolve(root, process.env.HOLDFAST_TEST_DIST ?? 'dist', 'stores/pkcs11/holdfast-child.js');

const boxed = { isolation: 'child', childPath: CHILD } as const;

/** The PKCS#11 store, each call and each open key in a process of its own. */
export const inChild: Required<KeyStore> = {
  open: (uri, options) => pkcs11.open(uri, { ...options, ...boxed }),
  readCertificates: (uri, options) => pkcs11.readCertificates(uri, { ...options, ...boxed }),
  list: (uri, options) => pkcs11.list(uri, { ...options, ...boxed }),
  create: (uri, options) => pkcs11.create(uri, { ...options, ...boxed }),
  putCertificate: (uri, chain, options) => pkcs11.putCertificate(uri, chain, { ...options, ...boxed }),
  removeCertificate: (uri, options) => pkcs11.removeCertificate(uri, { ...options, ...boxed }),
  retryPin: (uri, options) => pkcs11.retryPin(uri, { ...options, ...boxed }),
};
