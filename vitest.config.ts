import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // Tests use the package's public names and run on its sources.
    alias: [
      { find: /^intel-svm$/, replacement: source('./lib/index.ts') },
      { find: /^intel-svm\/mock$/, replacement: source('./mock/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A crash of the addon must fail one file, not the whole run.
    pool: 'forks',
    // Native tests compile, and machines of CI are slow and shared: this ends what hangs, it measures nothing.
    testTimeout: 60_000,
    coverage: {
      provider: 'v8',
      include: ['lib/**/*.ts', 'mock/**/*.ts'],
      reporter: ['text-summary', 'json-summary'],
      thresholds: { lines: 90 },
    },
  },
});
