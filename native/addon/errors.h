// How a failed shim call becomes a JavaScript exception.
#pragma once

#include <napi.h>

namespace intel_svm {

// Leaves an Error pending that is shaped as Node's own system errors: `code` ('EBUSY'), `errno`
// (negative), `syscall`. The caller must return to JavaScript without another call into it.
//
// `result` is what the shim returned, a negative errno; `syscall` names the operation refused.
void ThrowSystemError(Napi::Env env, int result, const char* syscall);

}  // namespace intel_svm
