/* For the shim's tests: a check that fails prints itself, and the program goes on to the next. */
#ifndef SVM_TEST_CHECK_H
#define SVM_TEST_CHECK_H

#include <stdio.h>

static int failures;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      failures++;                                                                                  \
      (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
    }                                                                                              \
  } while (0)

#endif
