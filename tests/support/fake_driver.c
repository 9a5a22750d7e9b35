/* libnvidia-ml.so.1 and libcuda.so.1 in one, for tests of the real bindings (pynvml, cuda.core) on machines without a GPU.
 *
 * What they say is in the text file $FAKE_GPU, read anew at every call:
 *   init CODE                        what nvmlInit returns (0)
 *   gpu INDEX UUID TOTAL RESERVED USED CODE    MiB; TOTAL 0: memory is not supported; CODE: what asking for the GPU returns
 *   each MIB                         what a process holds that was started with CUDA_VISIBLE_DEVICES=UUID
 *   proc INDEX PID MIB               another process; MIB -1: not to be seen
 *   hide                             no process is listed, as in some containers
 *   fail STEP CODE                   lock, checkpoint, restore or unlock returns CODE
 * A process's checkpoint state is in $FAKE_GPU.PID; while it is checkpointed it holds nothing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define OK 0
enum { NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, INVALID = 1, ILLEGAL_STATE = 401 };

typedef struct { char uuid[64]; unsigned long long total, reserved, used; int code; } Gpu;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } Process;
typedef struct { Gpu gpus[8]; int count, init, hide; long long each; Process procs[64]; int on[64], listed; char step[16]; int fails; } State;
static Gpu handles[8];

static void state_of(unsigned pid, char *out) {
    char path[512];
    snprintf(path, sizeof path, "%s.%u", getenv("FAKE_GPU"), pid);
    FILE *file = fopen(path, "r");
    strcpy(out, "running");
    if (file) { if (fscanf(file, "%31s", out) != 1) strcpy(out, "running"); fclose(file); }
}

static void add(State *state, int gpu, unsigned pid, long long mib) {
    char now[32];
    state_of(pid, now);
    if (state->listed == 64 || !strcmp(now, "checkpointed")) return;
    state->on[state->listed] = gpu;
    state->procs[state->listed++] = (Process){pid, mib < 0 ? ~0ull : mib * MIB, ~0u, ~0u};
    if (mib > 0) state->gpus[gpu].used += mib * MIB;
}

/* Those that say themselves that they are on the GPU: the stand-ins for engines, and what `partage run` starts. */
static void add_by_environment(State *state) {
    DIR *proc = opendir("/proc");
    for (struct dirent *one; proc && (one = readdir(proc));) {
        char path[300], text[65536];
        unsigned pid = atoi(one->d_name);
        snprintf(path, sizeof path, "/proc/%u/environ", pid);
        FILE *file = pid ? fopen(path, "r") : NULL;
        if (!file) continue;
        size_t size = fread(text, 1, sizeof text - 1, file);
        text[size] = 0;
        fclose(file);
        for (char *at = text; at < text + size; at += strlen(at) + 1)
            for (int gpu = 0; gpu < state->count; gpu++)
                if (!strncmp(at, "CUDA_VISIBLE_DEVICES=", 21) && !strcmp(at + 21, state->gpus[gpu].uuid))
                    add(state, gpu, pid, state->each);
    }
    if (proc) closedir(proc);
}

static State read_state(void) {
    State state = {0};
    char line[256], uuid[64], step[16];
    int index, code;
    long long total, reserved, used;
    unsigned pid;
    FILE *file = fopen(getenv("FAKE_GPU") ? getenv("FAKE_GPU") : "", "r");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "init %d", &state.init);
        sscanf(line, "each %lld", &state.each);
        if (!strncmp(line, "hide", 4)) state.hide = 1;
        if (sscanf(line, "fail %15s %d", step, &code) == 2) { strcpy(state.step, step); state.fails = code; }
        if (sscanf(line, "gpu %d %63s %lld %lld %lld %d", &index, uuid, &total, &reserved, &used, &code) == 6) {
            Gpu *gpu = &state.gpus[index];
            strcpy(gpu->uuid, uuid);
            gpu->total = total * MIB, gpu->reserved = reserved * MIB, gpu->used = used * MIB, gpu->code = code;
            if (index >= state.count) state.count = index + 1;
        }
        if (sscanf(line, "proc %d %u %lld", &index, &pid, &used) == 3) add(&state, index, pid, used);
    }
    if (file) fclose(file);
    if (state.each) add_by_environment(&state);
    return state;
}

static int gpu_of(void *handle, State *state) {
    *state = read_state();
    return state->gpus[(Gpu *)handle - handles].code;
}

/* NVML */
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : code == 18 ? "Driver/library version mismatch" : "an error"; }
int nvmlInitWithFlags(unsigned flags) { return (void)flags, read_state().init; }
int nvmlInit_v2(void) { return read_state().init; }
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = read_state().count, OK; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, "580.65.06"), OK; }
int nvmlSystemGetCudaDriverVersion(int *version) { return *version = 13000, OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    State state = read_state();
    *handle = &handles[index];
    return state.gpus[index].code;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    State state;
    int code = gpu_of(handle, &state);
    return snprintf(text, size, "%s", state.gpus[(Gpu *)handle - handles].uuid), code;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { return (void)handle, snprintf(text, size, "NVIDIA H200"), OK; }
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    State state;
    int code = gpu_of(handle, &state);
    Gpu gpu = state.gpus[(Gpu *)handle - handles];
    *memory = (Memory){gpu.total, gpu.total - gpu.reserved - gpu.used, gpu.reserved + gpu.used};
    return code ? code : gpu.total ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
    State state;
    int code = gpu_of(handle, &state);
    Gpu gpu = state.gpus[(Gpu *)handle - handles];
    if (memory->version != (sizeof *memory | 2 << 24)) return 25; /* version mismatch */
    *memory = (MemoryV2){memory->version, gpu.total, gpu.reserved, gpu.total - gpu.reserved - gpu.used, gpu.used};
    return code ? code : gpu.total ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Process *found) {
    State state;
    int code = gpu_of(handle, &state), size = *count, needed = 0;
    for (int one = 0; one < state.listed && !state.hide; one++)
        if (state.on[one] == (Gpu *)handle - handles) {
            if (needed < size) found[needed] = state.procs[one];
            needed++;
        }
    *count = needed;
    return code ? code : needed > size ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, Process *found) { return (void)handle, (void)found, *count = 0, OK; }
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) { return (void)handle, rates[0] = 37, rates[1] = 12, OK; }
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) { return (void)handle, (void)sensor, *degrees = 41, OK; }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *mw) { return (void)handle, *mw = 118500, OK; }
int nvmlDeviceGetPersistenceMode(void *handle, unsigned *on) { return (void)handle, *on = 1, OK; }
int nvmlDeviceGetComputeMode(void *handle, unsigned *mode) { return (void)handle, *mode = 0, OK; }
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *then) { return (void)handle, *now = *then = 0, OK; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) { return (void)handle, *major = 9, *minor = 0, OK; }
int nvmlEventSetCreate(void **set) { return *set = handles, OK; }
int nvmlEventSetFree(void *set) { return (void)set, OK; }
int nvmlDeviceRegisterEvents(void *handle, unsigned long long kinds, void *set) { return (void)handle, (void)kinds, (void)set, OK; }
int nvmlEventSetWait_v2(void *set, void *event, unsigned ms) { return (void)set, (void)event, (void)ms, TIMEOUT; }

/* CUDA: what cuda.core.checkpoint calls */
int cuInit(unsigned flags) { return (void)flags, read_state().count ? OK : 100; }
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = read_state().count, OK; }
int cuGetErrorName(int code, const char **text) { return *text = code == ILLEGAL_STATE ? "CUDA_ERROR_ILLEGAL_STATE" : code == 801 ? "CUDA_ERROR_NOT_SUPPORTED" : "CUDA_ERROR_UNKNOWN", (void)code, OK; }
int cuGetErrorString(int code, const char **text) { return *text = "the fake driver was told to fail", (void)code, OK; }

static int step(const char *name, unsigned pid, const char *from, const char *to) {
    State state = read_state();
    char now[32], path[512];
    state_of(pid, now);
    if (kill(pid, 0)) return INVALID;
    if (!strcmp(state.step, name)) return state.fails;
    if (strcmp(now, from)) return ILLEGAL_STATE;
    snprintf(path, sizeof path, "%s.%u", getenv("FAKE_GPU"), pid);
    FILE *file = fopen(path, "w");
    return file && fputs(to, file) >= 0 && !fclose(file) ? OK : 999;
}
int cuCheckpointProcessLock(int pid, void *args) { return (void)args, step("lock", pid, "running", "locked"); }
int cuCheckpointProcessCheckpoint(int pid, void *args) { return (void)args, step("checkpoint", pid, "locked", "checkpointed"); }
int cuCheckpointProcessRestore(int pid, void *args) { return (void)args, step("restore", pid, "checkpointed", "locked"); }
int cuCheckpointProcessUnlock(int pid, void *args) { return (void)args, step("unlock", pid, "locked", "running"); }
int cuCheckpointProcessGetState(int pid, int *now) {
    char text[32];
    state_of(pid, text);
    return *now = !strcmp(text, "locked") ? 1 : !strcmp(text, "checkpointed") ? 2 : 0, OK;
}
int cuCheckpointProcessGetRestoreThreadId(int pid, int *thread) { return *thread = pid, OK; }
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    (void)version, (void)flags;
    *function = dlsym(RTLD_DEFAULT, name);
    Dl_info here;
    if (dladdr((void *)cuInit, &here)) {
        void *self = dlopen(here.dli_fname, RTLD_LAZY);
        *function = self ? dlsym(self, name) : NULL;
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : 500; /* CUDA_ERROR_NOT_FOUND */
}
int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) { return cuGetProcAddress_v2(name, function, version, flags, NULL); }
