#include "arguments.h"

#include "errors.h"
#include "globals.h"

namespace intel_svm {

namespace {

const char kMemoryTypes[] = "a typed array, a DataView or an ArrayBuffer";

// Bytes of an element; 0 for a type that came after Node-API 8.
size_t ElementSize(napi_typedarray_type type) {
  switch (type) {
  case napi_int8_array:
  case napi_uint8_array:
  case napi_uint8_clamped_array:
    return 1;
  case napi_int16_array:
  case napi_uint16_array:
    return 2;
  case napi_int32_array:
  case napi_uint32_array:
  case napi_float32_array:
    return 4;
  case napi_float64_array:
  case napi_bigint64_array:
  case napi_biguint64_array:
    return 8;
  default:
    return 0;
  }
}

// Takes a view or buffer apart, whatever its state. False for anything else.
bool TakeApart(Napi::Env env, napi_value value, Memory* out) {
  bool is = false;
  void* data = nullptr;
  if (napi_is_typedarray(env, value, &is) == napi_ok && is) {
    // Node leaves `type` as it is where it does not know the type.
    auto type = static_cast<napi_typedarray_type>(-1);
    size_t elements = 0;
    if (napi_get_typedarray_info(env, value, &type, &elements, &data, &out->buffer, nullptr) !=
            napi_ok ||
        ElementSize(type) == 0) {
      return false;
    }
    out->length = elements * ElementSize(type);
  } else if (napi_is_dataview(env, value, &is) == napi_ok && is) {
    if (napi_get_dataview_info(env, value, &out->length, &data, &out->buffer, nullptr) != napi_ok) {
      return false;
    }
  } else if (napi_is_arraybuffer(env, value, &is) == napi_ok && is) {
    if (napi_get_arraybuffer_info(env, value, &data, &out->length) != napi_ok) return false;
    out->buffer = value;
  } else {
    return false;
  }
  out->data = static_cast<uint8_t*>(data);
  return true;
}

}  // namespace

bool IsUndefined(Napi::Env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  (void)napi_typeof(env, value, &type);
  return type == napi_undefined;
}

std::optional<uint64_t> ReadInteger(Napi::Env env, napi_value value, const char* name,
                                    uint64_t least, uint64_t most) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    ThrowInvalidArgType(env, name, "a number", value);
    return std::nullopt;
  }
  const auto low = static_cast<double>(least);
  const auto high = static_cast<double>(most);
  // Not a number compares false.
  if (number >= low && number <= high) {
    const auto integer = static_cast<uint64_t>(number);
    if (static_cast<double>(integer) == number) return integer;
  }
  ThrowOutOfRange(env, name, low, high);
  return std::nullopt;
}

std::optional<bool> ReadBoolean(Napi::Env env, napi_value value, const char* name) {
  bool boolean = false;
  if (napi_get_value_bool(env, value, &boolean) != napi_ok) {
    ThrowInvalidArgType(env, name, "a boolean", value);
    return std::nullopt;
  }
  return boolean;
}

std::optional<uint64_t> ReadAddress(Napi::Env env, napi_value value, const char* name) {
  uint64_t address = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, value, &address, &lossless) != napi_ok) {
    ThrowInvalidArgType(env, name, "a bigint", value);
    return std::nullopt;
  }
  if (!lossless) {
    ThrowOutOfRange(env, name, 0, static_cast<double>(UINT64_MAX));
    return std::nullopt;
  }
  return address;
}

std::optional<std::string> ReadPath(Napi::Env env, napi_value value, const char* name) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    ThrowInvalidArgType(env, name, "a string", value);
    return std::nullopt;
  }
  std::string path(length + 1, '\0');
  (void)napi_get_value_string_utf8(env, value, path.data(), path.size(), &length);
  path.resize(length);
  if (path.find('\0') != std::string::npos) {
    ThrowInvalidArgValue(env, name, "must be a string without null bytes");
    return std::nullopt;
  }
  return path;
}

MemoryReader::MemoryReader(Napi::Env env)
    : resizable_(FindGetter(env, "ArrayBuffer", "resizable")),
      growable_(FindGetter(env, "SharedArrayBuffer", "growable")) {}

std::optional<Memory> MemoryReader::Read(Napi::Env env, napi_value value, const char* name) const {
  Memory memory{};
  if (!TakeApart(env, value, &memory)) {
    ThrowInvalidArgType(env, name, kMemoryTypes, value);
    return std::nullopt;
  }
  // Node-API calls a SharedArrayBuffer no ArrayBuffer.
  bool unshared = false;
  bool detached = false;
  (void)napi_is_arraybuffer(env, memory.buffer, &unshared);
  if (unshared) (void)napi_is_detached_arraybuffer(env, memory.buffer, &detached);
  if (detached) {
    ThrowInvalidArgValue(env, name, "is detached: its memory was transferred or freed");
    return std::nullopt;
  }
  if (IsResizable(env, memory.buffer, !unshared)) {
    ThrowInvalidArgValue(env, name, "is resizable: its memory may be moved while a device uses it");
    return std::nullopt;
  }
  return memory;
}

bool MemoryReader::IsResizable(Napi::Env env, napi_value buffer, bool shared) const {
  const Napi::FunctionReference& getter = shared ? growable_ : resizable_;
  if (getter.IsEmpty()) return false;
  napi_value answer = nullptr;
  bool resizable = false;
  // A thread that is being terminated calls no getter any more: refusing is always safe.
  if (napi_call_function(env, buffer, getter.Value(), 0, nullptr, &answer) != napi_ok) return true;
  (void)napi_get_value_bool(env, answer, &resizable);
  return resizable;
}

}  // namespace intel_svm
