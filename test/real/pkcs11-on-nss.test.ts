import { describeUnless } from '../helpers/exercised.ts';
import { nss } from '../modules/nss.ts';
import { moduleSuite } from '../modules/suite.ts';

const describeModule = await describeUnless('nss');

describeModule('the PKCS#11 store on NSS softokn', () => moduleSuite('nss', nss));
