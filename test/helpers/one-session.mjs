// One CreateSession through the built package; prints what it took. argv: the options as JSON. The PIN comes by environment.
import { createRequire } from 'node:module';

const init = JSON.parse(process.argv[2]);
const secret = process.env.HOLDFAST_TEST_PIN;
const { getCredentials } = await import('../../dist/index.js');
const { accountId } = await getCredentials(secret === undefined ? init : { ...init, secret });
if (process.env.HOLDFAST_TEST_ALSO) await import(process.env.HOLDFAST_TEST_ALSO);

process.report.excludeNetwork = true;
const commonJs = Object.keys(createRequire(import.meta.url).cache);
console.log(JSON.stringify({ accountId, commonJs, libraries: process.report.getReport().sharedObjects }));
