#include "check.h"
#include "cpu_features.h"
#include "version.h"

#include <errno.h>
#include <string.h>

int main(void) {
  struct svm_cpu_features features, again;
  memset(&features, 0xff, sizeof features);
  memset(&again, 0, sizeof again);

  const int result = svm_get_cpu_features(&features);
#if defined(__x86_64__) || defined(__i386__)
  CHECK(result == 0);
#else
  CHECK(result == -ENOSYS);
  CHECK(!features.waitpkg && !features.la57 && !features.cldemote);
  CHECK(!features.movdiri && !features.movdir64b && !features.enqcmd);
#endif

  /* Every member is written: what lay there before makes no difference. */
  CHECK(svm_get_cpu_features(&again) == result);
  CHECK(features.waitpkg == again.waitpkg);
  CHECK(features.la57 == again.la57);
  CHECK(features.cldemote == again.cldemote);
  CHECK(features.movdiri == again.movdiri);
  CHECK(features.movdir64b == again.movdir64b);
  CHECK(features.enqcmd == again.enqcmd);

#if defined(__x86_64__)
  CHECK(strcmp(svm_cpu_arch(), "x64") == 0);
#elif defined(__aarch64__)
  CHECK(strcmp(svm_cpu_arch(), "arm64") == 0);
#endif

  CHECK(SVM_SHIM_ABI_VERSION >= 1);
  return failures != 0;
}
