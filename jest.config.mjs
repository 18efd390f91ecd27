// Two kinds of test file: `unit` runs in jest's workers and touches nothing but the source; `real` needs the built
// dist/, child processes or a PKCS#11 module, and scripts/test.mjs gives each of those files a process of its own.
const common = {
  setupFilesAfterEnv: ['<rootDir>/test/helpers/private-runtime.mjs'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' }, sourceMaps: 'inline' },
    ],
  },
};

export default {
  // jest leaves one core free by default, which on two cores is half of the machine.
  maxWorkers: '100%',
  // A test says what happens, not how soon: a busy machine is no failure.
  testTimeout: 60_000,
  projects: [
    { ...common, displayName: 'unit', testMatch: ['<rootDir>/test/unit/**/*.test.ts'] },
    { ...common, displayName: 'real', testMatch: ['<rootDir>/test/real/**/*.test.ts'] },
  ],
};
