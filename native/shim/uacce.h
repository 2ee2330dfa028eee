/*
 * The ioctls of <misc/uacce/uacce.h> and <misc/uacce/hisi_qm.h> on a descriptor of
 * svm_device_open(). Each returns 0 or -errno.
 */
#ifndef SVM_SHIM_UACCE_H
#define SVM_SHIM_UACCE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* UACCE_CMD_START_Q: -EINVAL when started already, -ENXIO when the queue is a zombie. */
int svm_uacce_start_queue(int fd);

/* UACCE_CMD_PUT_Q: -ENXIO when the queue is a zombie. */
int svm_uacce_put_queue(int fd);

/* UACCE_CMD_QM_SET_QP_CTX: gives the queue pair type (at most 2), gets its number. */
int svm_hisi_qm_set_qp_ctx(int fd, uint16_t qc_type, uint16_t* id);

struct svm_hisi_qp_info {
  uint32_t sqe_size; /* bytes of a submission queue entry */
  uint16_t sq_depth; /* entries */
  uint16_t cq_depth; /* entries */
};

/* UACCE_CMD_QM_SET_QP_INFO: `out` is filled on success alone. */
int svm_hisi_qm_get_qp_info(int fd, struct svm_hisi_qp_info* out);

#ifdef __cplusplus
}
#endif

#endif
