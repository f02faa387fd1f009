/* A CUDA driver without a GPU: memory is the host's, and a launch does nothing. With it
 * the engine takes its CUDA path on any machine: it asks for the device, generates each
 * kernel that it would launch as CUDA C++, and has NVRTC, the real one, compile it.
 * Nothing is computed, so no number that comes back means anything.
 *
 * SKERRY_SM is the compute capability to be (80, 90, ...). Each module that is loaded
 * is a file in the folder SKERRY_PTX, named by what is in it: the PTX that a real driver
 * would assemble. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef void *handle;

#define OK 0
#define INVALID_VALUE 1
#define NOT_SUPPORTED 801

/* 8 GiB, of which nothing is taken before it is written. */
#define MEMORY_BYTES ((size_t)8 << 30)

static int sm(void) {
  const char *value = getenv("SKERRY_SM");
  return value ? atoi(value) : 80;
}

CUresult cuInit(unsigned flags) { (void)flags; return OK; }
/* NVRTC asks for what profilers hook into; there is nothing. */
CUresult cuGetExportTable(const void **table, const void *id) {
  (void)id;
  *table = NULL;
  return 500; /* CUDA_ERROR_NOT_FOUND */
}
CUresult cuDriverGetVersion(int *version) { *version = 13000; return OK; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return OK; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  if (ordinal != 0) return 101; /* CUDA_ERROR_INVALID_DEVICE */
  *device = 0;
  return OK;
}
CUresult cuDeviceGetName(char *name, int len, CUdevice device) {
  (void)device;
  snprintf(name, (size_t)len, "no GPU, compute capability %d", sm());
  return OK;
}
CUresult cuDeviceGetUuid(void *uuid, CUdevice device) { (void)device; memset(uuid, 0, 16); return OK; }
CUresult cuDeviceGetUuid_v2(void *uuid, CUdevice device) { return cuDeviceGetUuid(uuid, device); }
CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice device) {
  (void)device;
  snprintf(id, (size_t)len, "0000:00:00.0");
  return OK;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) { (void)device; *bytes = MEMORY_BYTES; return OK; }
CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  *free_bytes = MEMORY_BYTES;
  *total = MEMORY_BYTES;
  return OK;
}

/* Numbers of CUdevice_attribute in cuda.h, and an A100's or H100's values. */
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  (void)device;
  switch (attribute) {
    case 1: *value = 1024; break;             /* threads per block */
    case 2: case 3: *value = 1024; break;     /* block, x and y */
    case 4: *value = 64; break;               /* block, z */
    case 5: *value = 2147483647; break;       /* grid, x */
    case 6: case 7: *value = 65535; break;    /* grid, y and z */
    case 8: *value = 49152; break;            /* shared memory per block */
    case 10: *value = 32; break;              /* warp size */
    case 12: *value = 65536; break;           /* registers per block */
    case 16: *value = sm() >= 90 ? 132 : 108; break; /* multiprocessors */
    case 75: *value = sm() / 10; break;       /* compute capability */
    case 76: *value = sm() % 10; break;
    case 81: case 97: *value = sm() >= 90 ? 232448 : 166912; break; /* shared memory, opt in */
    case 115: *value = 0; break;              /* memory pools */
    default: *value = 1;
  }
  return OK;
}

/* ── Contexts, streams, events: there is one of each, and nothing to wait for ── */

static int something;

CUresult cuDevicePrimaryCtxRetain(handle *context, CUdevice device) { (void)device; *context = &something; return OK; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { (void)device; return OK; }
CUresult cuCtxSetCurrent(handle context) { (void)context; return OK; }
CUresult cuCtxGetCurrent(handle *context) { *context = &something; return OK; }
CUresult cuCtxSynchronize(void) { return OK; }
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = 0; return OK; }
CUresult cuStreamCreate(handle *stream, unsigned flags) { (void)flags; *stream = malloc(1); return OK; }
CUresult cuStreamCreateWithPriority(handle *stream, unsigned flags, int priority) {
  (void)priority;
  return cuStreamCreate(stream, flags);
}
CUresult cuStreamDestroy_v2(handle stream) { free(stream); return OK; }
CUresult cuStreamSynchronize(handle stream) { (void)stream; return OK; }
CUresult cuStreamWaitEvent(handle stream, handle event, unsigned flags) { (void)stream; (void)event; (void)flags; return OK; }
CUresult cuStreamIsCapturing(handle stream, int *status) { (void)stream; *status = 0; return OK; }
CUresult cuEventCreate(handle *event, unsigned flags) { (void)flags; *event = malloc(1); return OK; }
CUresult cuEventDestroy_v2(handle event) { free(event); return OK; }
CUresult cuEventRecord(handle event, handle stream) { (void)event; (void)stream; return OK; }
CUresult cuEventSynchronize(handle event) { (void)event; return OK; }
CUresult cuEventQuery(handle event) { (void)event; return OK; }
CUresult cuEventElapsedTime(float *ms, handle start, handle end) { (void)start; (void)end; *ms = 1; return OK; }
CUresult cuEventElapsedTime_v2(float *ms, handle start, handle end) { return cuEventElapsedTime(ms, start, end); }

/* ── Memory ── */

CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 512, bytes ? bytes : 512) != 0) return 2;
  *at = (CUdeviceptr)(uintptr_t)memory;
  return OK;
}
CUresult cuMemAllocAsync(CUdeviceptr *at, size_t bytes, handle stream) { (void)stream; return cuMemAlloc_v2(at, bytes); }
CUresult cuMemFree_v2(CUdeviceptr at) { free((void *)(uintptr_t)at); return OK; }
CUresult cuMemFreeAsync(CUdeviceptr at, handle stream) { (void)stream; return cuMemFree_v2(at); }
CUresult cuMemAllocHost_v2(void **at, size_t bytes) { *at = calloc(1, bytes ? bytes : 1); return OK; }
CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags) { (void)flags; return cuMemAllocHost_v2(at, bytes); }
CUresult cuMemFreeHost(void *at) { free(at); return OK; }
/* Weights are not kept: no kernel reads them. */
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, handle stream) {
  (void)to; (void)from; (void)bytes; (void)stream;
  return OK;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, handle stream) {
  (void)from; (void)stream;
  memset(to, 0, bytes);
  return OK;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, handle stream) {
  (void)to; (void)from; (void)bytes; (void)stream;
  return OK;
}

/* CUDA_MEMCPY2D of cuda.h. */
struct copy2d {
  size_t src_x, src_y;
  unsigned src_type;
  const void *src_host;
  CUdeviceptr src_device;
  handle src_array;
  size_t src_pitch;
  size_t dst_x, dst_y;
  unsigned dst_type;
  void *dst_host;
  CUdeviceptr dst_device;
  handle dst_array;
  size_t dst_pitch;
  size_t width, height;
};
CUresult cuMemcpy2DAsync_v2(const struct copy2d *copy, handle stream) {
  (void)stream;
  if (copy->dst_type != 1) return OK; /* not to the host */
  for (size_t row = 0; row < copy->height; row++) {
    memset((char *)copy->dst_host + copy->dst_x + (copy->dst_y + row) * copy->dst_pitch, 0, copy->width);
  }
  return OK;
}

/* ── Kernels ── */

/* One module, once, also where many threads and processes load it. */
static int keep(const char *ptx) {
  const char *folder = getenv("SKERRY_PTX");
  if (!folder) return 1;
  uint64_t hash = 1469598103934665603u; /* FNV-1a, 64 bits */
  for (const char *at = ptx; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211u;
  char path[4096], part[4096 + 32];
  snprintf(path, sizeof path, "%s/%016llx.ptx", folder, (unsigned long long)hash);
  snprintf(part, sizeof part, "%s.%d.%p", path, (int)getpid(), (const void *)ptx);
  FILE *file = fopen(part, "w");
  if (!file) return 0;
  int written = fputs(ptx, file) >= 0;
  if (fclose(file) != 0) written = 0;
  return written && rename(part, path) == 0;
}

CUresult cuModuleLoadData(handle *module, const void *image) {
  const char *ptx = image;
  const char *entry = strstr(ptx, ".entry ");
  char name[512];
  if (!entry || sscanf(entry, ".entry %511[^( \n]", name) != 1) return INVALID_VALUE;
  if (!keep(ptx)) return INVALID_VALUE;
  *module = strdup(name);
  return OK;
}
CUresult cuModuleUnload(handle module) { free(module); return OK; }
CUresult cuModuleGetFunction(handle *function, handle module, const char *name) {
  if (strcmp(module, name) != 0) return 500; /* CUDA_ERROR_NOT_FOUND */
  *function = module;
  return OK;
}
CUresult cuFuncSetAttribute(handle function, int attribute, int value) {
  (void)function; (void)attribute; (void)value;
  return OK;
}
CUresult cuFuncGetAttribute(int *value, int attribute, handle function) {
  (void)attribute; (void)function;
  *value = 0;
  return OK;
}
CUresult cuLaunchKernel(handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, handle stream, void **args,
                        void **extra) {
  (void)function; (void)stream; (void)args; (void)extra;
  /* What a real driver refuses. */
  if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535) return INVALID_VALUE;
  if (bx * by * bz == 0 || bx * by * bz > 1024) return INVALID_VALUE;
  if (shared > 232448) return INVALID_VALUE;
  return OK;
}
CUresult cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address,
                                const uint64_t *dims, const uint64_t *strides,
                                const uint32_t *box, const uint32_t *element_strides,
                                int interleave, int swizzle, int promotion, int fill) {
  (void)type; (void)rank; (void)address; (void)dims; (void)strides; (void)box;
  (void)element_strides; (void)interleave; (void)swizzle; (void)promotion; (void)fill;
  memset(map, 0, 128);
  return OK;
}

/* ── Errors ── */

CUresult cuGetErrorName(int error, const char **name) { (void)error; *name = "CUDA_ERROR"; return OK; }
CUresult cuGetErrorString(int error, const char **text) { (void)error; *text = "an error of the driver without a GPU"; return OK; }
