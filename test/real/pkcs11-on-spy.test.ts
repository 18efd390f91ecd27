import { describeUnless } from '../helpers/exercised.ts';
import { spiedSoftHsm } from '../modules/pkcs11-spy.ts';
import { moduleSuite } from '../modules/suite.ts';

const describeModule = await describeUnless('pkcs11-spy');

describeModule('the PKCS#11 store on SoftHSM behind pkcs11-spy', () => moduleSuite('pkcs11-spy', spiedSoftHsm));
