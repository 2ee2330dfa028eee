// How what went wrong becomes a JavaScript exception. Each function of the name Throw leaves one
// pending: the caller must return to JavaScript without another call into it.
#pragma once

#include <napi.h>

namespace intel_svm {

// What the kernel refused: an Error in the shape of Node's own system errors, with `code`
// ('EBUSY'), `errno` (negative) and `syscall`.
//
// `result` is what the shim returned, a negative errno; `syscall` names the operation refused.
void ThrowSystemError(Napi::Env env, int result, const char* syscall);

// Misuse by the caller, with Node's codes and words. `name` is the argument's; `expected` and
// `problem` complete the sentence.

// TypeError ERR_INVALID_ARG_TYPE: the "name" argument must be `expected`.
void ThrowInvalidArgType(Napi::Env env, const char* name, const char* expected, napi_value actual);
// TypeError ERR_INVALID_ARG_VALUE: the "name" argument `problem`.
void ThrowInvalidArgValue(Napi::Env env, const char* name, const char* problem);
// RangeError ERR_OUT_OF_RANGE: it must be an integer from `least` to `most`.
void ThrowOutOfRange(Napi::Env env, const char* name, double least, double most);
// Error ERR_INVALID_STATE.
void ThrowInvalidState(Napi::Env env, const char* problem);

// What Node-API refused: the exception that is pending already, else its own last error.
void ThrowLastError(Napi::Env env);

// Forgets the exception that is pending, if one is.
void ClearException(Napi::Env env);

}  // namespace intel_svm
