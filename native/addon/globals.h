// What the addon takes from JavaScript's globals when it is loaded, so that what a program does to
// them later makes no difference. A program may have done it before: what is not as it should be is
// as if it were not there, and no exception is left pending.
#pragma once

#include <napi.h>

#include <initializer_list>

namespace intel_svm {

// The function at the end of a path from `globalThis`. Empty where there is none.
Napi::FunctionReference FindFunction(Napi::Env env, std::initializer_list<const char*> path);

// The getter of an accessor property of CLASS.prototype. Empty where there is none.
Napi::FunctionReference FindGetter(Napi::Env env, const char* className, const char* property);

// An instance of a class that needs no arguments. Empty where there is none.
Napi::ObjectReference MakeInstance(Napi::Env env, const Napi::FunctionReference& constructor);

}  // namespace intel_svm
