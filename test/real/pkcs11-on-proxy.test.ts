import { describeUnless } from '../helpers/exercised.ts';
import { isElsewhere, testElsewhere } from '../modules/elsewhere.ts';
import { canUse, OWN_USER } from '../modules/libraries.mjs';
import { proxiedSoftHsm } from '../modules/p11-kit-proxy.ts';
import { moduleSuite } from '../modules/suite.ts';

const isRoot = process.getuid?.() === 0;

if (isRoot && !isElsewhere() && canUse('p11-kit-proxy')) {
  await testElsewhere(import.meta.url, OWN_USER);
} else {
  const describeModule = await describeUnless('p11-kit-proxy');
  describeModule("the PKCS#11 store on SoftHSM through p11-kit's proxy", () =>
    moduleSuite('p11-kit-proxy', proxiedSoftHsm),
  );
}
