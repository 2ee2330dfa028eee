// Reading the arguments of a call. Each function reads one; where it is not what the addon takes,
// it leaves an exception pending and returns nothing.
//
// None of them reads a property of a caller's object, so no code of the caller's runs in between.
#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>

namespace intel_svm {

// 2^53 - 1, Number.MAX_SAFE_INTEGER.
inline constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

// An argument that was left out, or as good as.
bool IsUndefined(Napi::Env env, napi_value value);
// A number that is an integer from `least` to `most`, which is at most kMaxSafeInteger.
std::optional<uint64_t> ReadInteger(Napi::Env env, napi_value value, const char* name,
                                    uint64_t least, uint64_t most);
std::optional<bool> ReadBoolean(Napi::Env env, napi_value value, const char* name);
// A bigint from 0 to 2^64 - 1.
std::optional<uint64_t> ReadAddress(Napi::Env env, napi_value value, const char* name);
// A string without a NUL, as UTF-8.
std::optional<std::string> ReadPath(Napi::Env env, napi_value value, const char* name);

// The bytes of a typed array, DataView or ArrayBuffer. They stay in place while `buffer` is neither
// collected nor detached, that is at least until the addon returns to JavaScript.
struct Memory {
  napi_value buffer;  // the ArrayBuffer or SharedArrayBuffer
  uint8_t* data;      // nullptr is possible where `length` is 0
  size_t length;
};

// Tells memory that stays in place from memory that does not.
class MemoryReader {
public:
  // Keeps the getters of `ArrayBuffer.prototype.resizable` and `SharedArrayBuffer.prototype
  // .growable`: Node-API does not tell, and a caller may have put a property of his own before
  // them.
  explicit MemoryReader(Napi::Env env);

  // Refuses detached, resizable and growable memory.
  std::optional<Memory> Read(Napi::Env env, napi_value value, const char* name) const;

private:
  bool IsResizable(Napi::Env env, napi_value buffer, bool shared) const;

  // Empty in a Node that has none.
  Napi::FunctionReference resizable_;
  Napi::FunctionReference growable_;
};

}  // namespace intel_svm
