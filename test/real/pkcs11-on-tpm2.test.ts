import { describeUnless } from '../helpers/exercised.ts';
import { moduleSuite } from '../modules/suite.ts';
import { tpm2Pkcs11 } from '../modules/tpm2-pkcs11.ts';

const describeModule = await describeUnless('tpm2-pkcs11');

describeModule('the PKCS#11 store on tpm2-pkcs11', () => moduleSuite('tpm2-pkcs11', tpm2Pkcs11));
