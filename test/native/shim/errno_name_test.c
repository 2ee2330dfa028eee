/* Prints "number NAME" of every errno that has a name, for comparison with Node's table. */

#include "check.h"
#include "errno_name.h"

#include <errno.h>
#include <string.h>

int main(void) {
  char text[128];

  for (int error = 1; error < 4096; error++) {
    const char* name = svm_errno_name(error);
    if (name != NULL) (void)printf("%d %s\n", error, name);
    svm_errno_message(error, text, sizeof text);
    CHECK(text[0] != '\0');
  }

  CHECK(svm_errno_name(0) == NULL);
  CHECK(svm_errno_name(-EBUSY) == NULL);
  CHECK(svm_errno_name(4096) == NULL);

  svm_errno_message(EBUSY, text, sizeof text);
  CHECK(strcmp(text, strerror(EBUSY)) == 0);

  /* Cut to the buffer, and still a string. */
  memset(text, 'x', sizeof text);
  svm_errno_message(EBUSY, text, 4);
  CHECK(memchr(text, '\0', 4) != NULL);
  CHECK(text[4] == 'x');
  memset(text, 'x', sizeof text);
  svm_errno_message(EBUSY, text, 1);
  CHECK(text[0] == '\0' && text[1] == 'x');

  return failures != 0;
}
