// One CreateSession through the built package; prints what it took. argv: the options as JSON.
import { createRequire } from 'node:module';

const init = JSON.parse(process.argv[2]);
const { getCredentials } = await import('../../dist/index.js');
const { accountId } = await getCredentials(init);
if (process.env.HOLDFAST_TEST_ALSO) await import(process.env.HOLDFAST_TEST_ALSO);

process.report.excludeNetwork = true;
const commonJs = Object.keys(createRequire(import.meta.url).cache);
console.log(JSON.stringify({ accountId, commonJs, libraries: process.report.getReport().sharedObjects }));
