/*
 * The ioctls against the kernel's headers, where there are any, and on a device that knows none of
 * them. What a UACCE device answers is tested on the fake one (../double).
 */

#include "char_device.h"
#include "check.h"
#include "uacce.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#if defined(__has_include)
#if __has_include(<misc/uacce/hisi_qm.h>)
#define HAS_HEADERS
#endif
#endif

#ifdef HAS_HEADERS
#include <linux/types.h>
#include <misc/uacce/hisi_qm.h>
#include <misc/uacce/uacce.h>

/* uacce.c has the same numbers, and asserts that they come from its own structs. */
_Static_assert(UACCE_CMD_START_Q == 0x5700, "UACCE_CMD_START_Q");
_Static_assert(UACCE_CMD_PUT_Q == 0x5701, "UACCE_CMD_PUT_Q");
_Static_assert(UACCE_CMD_QM_SET_QP_CTX == 0xc004480a, "UACCE_CMD_QM_SET_QP_CTX");
_Static_assert(UACCE_CMD_QM_SET_QP_INFO == 0xc010480b, "UACCE_CMD_QM_SET_QP_INFO");
_Static_assert(offsetof(struct hisi_qp_ctx, id) == 0, "hisi_qp_ctx.id");
_Static_assert(offsetof(struct hisi_qp_ctx, qc_type) == 2, "hisi_qp_ctx.qc_type");
_Static_assert(offsetof(struct hisi_qp_info, sqe_size) == 0, "hisi_qp_info.sqe_size");
_Static_assert(offsetof(struct hisi_qp_info, sq_depth) == 4, "hisi_qp_info.sq_depth");
_Static_assert(offsetof(struct hisi_qp_info, cq_depth) == 6, "hisi_qp_info.cq_depth");
#endif

static void check_refused(int fd, int error) {
  uint16_t id = 0x5a5a;
  struct svm_hisi_qp_info info, before;
  memset(&info, 0x5a, sizeof info);
  before = info;

  CHECK(svm_uacce_start_queue(fd) == error);
  CHECK(svm_uacce_put_queue(fd) == error);
  CHECK(svm_hisi_qm_set_qp_ctx(fd, 0, &id) == error);
  CHECK(svm_hisi_qm_get_qp_info(fd, &info) == error);
  CHECK(id == 0x5a5a);
  CHECK(memcmp(&info, &before, sizeof info) == 0);
}

int main(void) {
  const int null = svm_device_open("/dev/null");
  check_refused(null, -ENOTTY);
  CHECK(svm_device_close(null) == 0);
  check_refused(null, -EBADF);
  return failures != 0;
}
