/** A reporter of vitest: each skipped test with its reason. */
export default class SkipReporter {
  onTestRunEnd(modules) {
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const { note = 'without a reason' } = test.result();
        console.log(`skipped: ${module.relativeModuleId} > ${test.fullName}: ${note}`);
      }
    }
  }
}
