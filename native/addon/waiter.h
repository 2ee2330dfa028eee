// Waiting for completion bytes on a thread, and waking the event loop when some were written.
#pragma once

#include <napi.h>
#include <pthread.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "../shim/waiter.h"
#include "allocation.h"

namespace intel_svm {

class WaiterThread;

// The completion records of one ring, and the JavaScript function that hears of them. A member
// belongs to the environment's thread unless it says otherwise.
struct Waiter final : std::enable_shared_from_this<Waiter> {
  Waiter(WaiterThread* owner, Hold records);

  WaiterThread* thread;  // nullptr when closed
  // Readable until the waiter is closed; the thread reads them, the device writes them.
  Hold records;
  const uint8_t* bytes = nullptr;
  size_t stride = 0;
  uint32_t slots = 0;
  std::vector<bool> watched;
  Napi::FunctionReference onWake;
  Napi::ObjectReference completed;  // Int32Array of `slots` elements

  // Slots whose byte was written. Guarded by WaiterThread::mutex_.
  std::vector<uint32_t> done;
};

// The one thread of an environment that waits. It runs from the first watch until Stop, and sleeps
// while nothing is watched.
//
// Which thread runs what: Loop, Scan and Publish run on the waiter thread and call nothing of
// JavaScript but the thread-safe function; everything else runs on the environment's thread.
class WaiterThread final {
public:
  explicit WaiterThread(Napi::Env env) : env_(env) {}
  WaiterThread(const WaiterThread&) = delete;
  WaiterThread& operator=(const WaiterThread&) = delete;

  // Makes the way back to the event loop; false with an exception pending. Before any other call.
  bool Open();
  bool isOpen() const {
    return wakeLoop_ != nullptr;
  }

  // Takes a waiter in, until Close or Stop.
  void Add(const std::shared_ptr<Waiter>& waiter);
  // Looks at the bytes of slots that are not watched yet. Returns 0, or -errno of pthread_create.
  int Watch(Waiter* waiter, uint32_t slot, uint32_t count);
  // Returns when the thread has taken its eyes off the waiter's memory.
  void Close(Waiter* waiter);
  // Ends the thread and closes every waiter. Watch starts another.
  void Stop();

private:
  struct Watched {
    Waiter* waiter;  // stays in waiters_ until Close has removed it here
    const uint8_t* byte;
    uint32_t slot;
  };

  static void CallJs(napi_env env, napi_value, void* context, void*);
  void Deliver();
  void SetWatchedCount(size_t count);
  int Start();

  static void* Main(void* self);
  void Loop();
  void Scan();
  void Publish();

  // The environment's thread.
  const Napi::Env env_;
  napi_threadsafe_function wakeLoop_ = nullptr;
  std::unordered_set<std::shared_ptr<Waiter>> waiters_;
  size_t watchedCount_ = 0;
  pthread_t thread_{};
  bool isRunning_ = false;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable change_;   // to the waiter thread: something below changed
  std::condition_variable scanned_;  // to Close: isScanning_ fell
  std::vector<Watched> added_;       // not yet among watched_
  std::vector<Waiter*> ready_;       // those with slots in `done`
  bool isWaking_ = false;            // wakeLoop_ was called and Deliver has not begun
  bool isPaused_ = false;            // Close waits: scan no more
  bool isStopping_ = false;
  bool isScanning_ = false;

  // Raised to end a scan early. Raised, and reset between scans, by the environment's thread.
  svm_stop_flag interrupt_{};
  // The waiter thread's while isScanning_, else guarded by mutex_.
  std::vector<Watched> watched_;
  std::vector<Watched> found_;
};

}  // namespace intel_svm
