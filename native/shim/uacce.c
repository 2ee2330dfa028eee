#include "uacce.h"

#include "char_device.h"

#include <errno.h>
#include <linux/ioctl.h>
#include <stddef.h>

/*
 * Declared here, as the headers of older systems have no misc/uacce:
 * include/uapi/misc/uacce/uacce.h and hisi_qm.h. The test compares them with the headers where
 * there are any.
 */
#define UACCE_CMD_START_Q _IO('W', 0)
#define UACCE_CMD_PUT_Q _IO('W', 1)

struct hisi_qp_ctx {
  uint16_t id;
  uint16_t qc_type;
};

struct hisi_qp_info {
  uint32_t sqe_size;
  uint16_t sq_depth;
  uint16_t cq_depth;
  uint64_t reserved;
};

#define UACCE_CMD_QM_SET_QP_CTX _IOWR('H', 10, struct hisi_qp_ctx)
#define UACCE_CMD_QM_SET_QP_INFO _IOWR('H', 11, struct hisi_qp_info)

_Static_assert(UACCE_CMD_START_Q == 0x5700, "UACCE_CMD_START_Q");
_Static_assert(UACCE_CMD_PUT_Q == 0x5701, "UACCE_CMD_PUT_Q");
_Static_assert(UACCE_CMD_QM_SET_QP_CTX == 0xc004480a, "UACCE_CMD_QM_SET_QP_CTX");
_Static_assert(UACCE_CMD_QM_SET_QP_INFO == 0xc010480b, "UACCE_CMD_QM_SET_QP_INFO");

int svm_uacce_start_queue(int fd) {
  return svm_device_ioctl(fd, UACCE_CMD_START_Q, NULL);
}

int svm_uacce_put_queue(int fd) {
  return svm_device_ioctl(fd, UACCE_CMD_PUT_Q, NULL);
}

int svm_hisi_qm_set_qp_ctx(int fd, uint16_t qc_type, uint16_t* id) {
  struct hisi_qp_ctx context = {.qc_type = qc_type};
  const int result = svm_device_ioctl(fd, UACCE_CMD_QM_SET_QP_CTX, &context);
  if (result == 0) *id = context.id;
  return result;
}

int svm_hisi_qm_get_qp_info(int fd, struct svm_hisi_qp_info* out) {
  struct hisi_qp_info info = {0};
  const int result = svm_device_ioctl(fd, UACCE_CMD_QM_SET_QP_INFO, &info);
  if (result == 0) {
    *out = (struct svm_hisi_qp_info){
        .sqe_size = info.sqe_size,
        .sq_depth = info.sq_depth,
        .cq_depth = info.cq_depth,
    };
  }
  return result;
}
