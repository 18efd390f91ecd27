import { describeUnless } from '../helpers/exercised.ts';
import { isElsewhere, testElsewhere } from '../modules/elsewhere.ts';
import { canUse } from '../modules/libraries.mjs';
import { OPENCRYPTOKI_MACHINE, opencryptoki } from '../modules/opencryptoki.ts';
import { moduleSuite } from '../modules/suite.ts';

if (!isElsewhere() && canUse('opencryptoki')) {
  await testElsewhere(import.meta.url, OPENCRYPTOKI_MACHINE);
} else {
  const describeModule = await describeUnless('opencryptoki');
  describeModule('the PKCS#11 store on opencryptoki', () => moduleSuite('opencryptoki', opencryptoki));
}
