import { describeUnless } from '../helpers/exercised.ts';
import { servedSoftHsm } from '../modules/p11-kit-server.ts';
import { moduleSuite } from '../modules/suite.ts';

const describeModule = await describeUnless('p11-kit-server');

describeModule('the PKCS#11 store on SoftHSM behind p11-kit server', () =>
  moduleSuite('p11-kit-server', servedSoftHsm),
);
