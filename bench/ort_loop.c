/* Runs densenet in ONNX Runtime alone, which is the least that a miss can cost.
 *
 * usage: ort_loop MODEL INTRA_OP_THREADS INSTANCES RUNS INPUT OUTPUT
 *
 * INSTANCES threads share one session and together run the tensor in the file INPUT RUNS times;
 * the last result of the first one goes to the file OUTPUT. Prints JSON: the version of ONNX Runtime,
 * runs per second, resident KiB. */

#define _POSIX_C_SOURCE 200809L

#include <onnxruntime/onnxruntime_c_api.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHANNELS = 3, SIDE = 224, ELEMENTS = CHANNELS * SIDE * SIDE, RESULTS = 1000 };

static const OrtApi *ort;
static OrtSession *session;
static OrtMemoryInfo *memory;
static float input[ELEMENTS];
static atomic_long runs_left;
static pthread_barrier_t warm;
static const char *output_path;

static void
die(const char *what)
{
	fprintf(stderr, "ort_loop: %s\n", what);
	exit(1);
}

static void
check(OrtStatus *status)
{
	if (status)
		die(ort->GetErrorMessage(status));
}

static OrtValue *
run(const OrtValue *tensor)
{
	static const char *const input_names[] = {"data_0"};
	static const char *const output_names[] = {"fc6_1"};
	OrtValue *result = NULL;
	check(ort->Run(session, NULL, input_names, &tensor, 1, output_names, 1, &result));
	return result;
}

static void
write_result(OrtValue *result)
{
	void *values;
	check(ort->GetTensorMutableData(result, &values));
	FILE *file = fopen(output_path, "wb");
	if (!file || fwrite(values, sizeof(float), RESULTS, file) != RESULTS || fclose(file))
		die("cannot write the output");
}

static void *
instance(void *writes)
{
	static const int64_t shape[] = {1, CHANNELS, SIDE, SIDE};
	OrtValue *tensor = NULL;
	check(ort->CreateTensorWithDataAsOrtValue(memory, input, sizeof input, shape, 4,
						  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor));
	OrtValue *result = run(tensor);
	pthread_barrier_wait(&warm);
	while (atomic_fetch_sub(&runs_left, 1) > 0) {
		ort->ReleaseValue(result);
		result = run(tensor);
	}
	if (writes)
		write_result(result);
	ort->ReleaseValue(result);
	ort->ReleaseValue(tensor);
	return NULL;
}

static void
load(const char *path, int intra_op_threads)
{
	OrtEnv *env;
	OrtSessionOptions *options;
	check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "ort_loop", &env));
	check(ort->CreateSessionOptions(&options));
	check(ort->SetIntraOpNumThreads(options, intra_op_threads));
	check(ort->CreateSession(env, path, options, &session));
	check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
}

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long
resident_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *file = fopen("/proc/self/status", "r");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, "VmRSS:", 6))
			kib = strtol(line + 6, NULL, 10);
	if (file)
		fclose(file);
	return kib;
}

int
main(int argc, char **argv)
{
	if (argc != 7)
		die("usage: ort_loop MODEL INTRA_OP_THREADS INSTANCES RUNS INPUT OUTPUT");
	int instances = atoi(argv[3]);
	long runs = atol(argv[4]);
	FILE *file = fopen(argv[5], "rb");
	if (instances < 1 || runs < 1 || !file || fread(input, sizeof input, 1, file) != 1)
		die("wrong arguments");
	fclose(file);
	output_path = argv[6];
	ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
	load(argv[1], atoi(argv[2]));

	pthread_t *threads = calloc((size_t)instances, sizeof *threads);
	if (!threads)
		die("out of memory");
	atomic_store(&runs_left, runs);
	pthread_barrier_init(&warm, NULL, (unsigned)instances + 1);
	for (int i = 0; i < instances; i++)
		if (pthread_create(&threads[i], NULL, instance, i ? NULL : &warm))
			die("cannot start a thread");
	pthread_barrier_wait(&warm);
	double start = now();
	for (int i = 0; i < instances; i++)
		pthread_join(threads[i], NULL);
	printf("{\"version\": \"%s\", \"rate\": %f, \"resident\": %ld}\n", OrtGetApiBase()->GetVersionString(),
	       (double)runs / (now() - start), resident_kib());
	free(threads);
	return 0;
}
