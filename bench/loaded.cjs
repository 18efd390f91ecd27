// Preloaded with --require: at the end, writes which of Node's own modules and which files the process loaded.
const { statSync, writeFileSync } = require('node:fs');

process.on('exit', () => {
  const files = Object.keys(require.cache).filter((path) => path !== __filename);
  writeFileSync(
    process.env.BENCH_LOADED,
    JSON.stringify({
      builtins: process.moduleLoadList.filter((name) => name.startsWith('NativeModule ')),
      files: files.map((path) => ({ path, kilobytes: statSync(path).size / 1024 })),
    }),
  );
});
