import { describeSoftHsm } from '../helpers/softhsm.ts';
import { softHsm } from '../modules/softhsm.ts';
import { moduleSuite } from '../modules/suite.ts';

describeSoftHsm('the PKCS#11 store on SoftHSM', () => moduleSuite('SoftHSM', softHsm));
